//! What an auditor reads: who said what about which message, and each check with what it showed.

use std::io::Write;

use anyhow::Result;
use kernpost_codecs::Code;
use kernpost_codecs::archive::CoseReceipt;
use kernpost_codecs::statement::{Message, Receipt};
use kernpost_endpoint::offline::audit::Audit;
use kernpost_routing_table::instant_text;
use serde_json::{Value, json};

use super::directories::Stated;

/// The verdict in words. `judged`: the stated directory was at hand, so that everything was checked.
pub fn verdict(audit: &Audit, judged: bool, out: &mut impl Write) -> Result<()> {
    let failed = audit.checks.iter().filter(|check| !check.passed).count();
    let outcome = audit.receipt.outcome.name();
    if audit.verified() {
        writeln!(out, "VERIFIED: {outcome}")?;
    } else {
        writeln!(out, "NOT VERIFIED: {failed} of {} checks failed; the file claims {outcome}", audit.checks.len())?;
    }
    claims(&audit.receipt, audit.message.as_ref(), out)?;
    if let Some(rule) = &audit.responsible {
        let (service, place) = (&rule.service_prefix, &rule.jurisdiction_prefix);
        writeln!(out, "responsible  by rule {} of zone {} ({service} × {place})", rule.rule, rule.zone)?;
    }
    writeln!(out, "checks")?;
    for check in &audit.checks {
        let mark = if check.passed { "ok  " } else { "FAIL" };
        let detail = check.detail.replace('\n', "\n                           ");
        writeln!(out, "  {mark} {:<19} {detail}", check.name)?;
    }
    if !judged {
        writeln!(out, "Signatures and responsibility were not checked: that takes the directory version stated.")?;
    }
    Ok(())
}

/// What the file says.
pub fn claims(receipt: &Receipt, message: Option<&Message>, out: &mut impl Write) -> Result<()> {
    writeln!(out, "message      {}", receipt.message)?;
    writeln!(out, "  sent by    {}", receipt.addressee)?;
    if let Some(message) = message {
        let (service, jurisdiction) = (message.service, message.jurisdiction);
        writeln!(out, "  created    {}", instant_text(message.created))?;
        writeln!(out, "  about      service {service}, jurisdiction {jurisdiction}")?;
        if let Some(recipient) = &message.recipient {
            writeln!(out, "  for        {recipient}, named by the sender")?;
        }
        writeln!(out, "  payload    {} bytes, SHA-256 {}", message.payload_len, message.payload_digest)?;
    }
    writeln!(out, "receipt      {} by {}", receipt.outcome.name(), receipt.issuer)?;
    writeln!(out, "  issued     {}", instant_text(receipt.time))?;
    if receipt.code != 0 {
        writeln!(out, "  code       {}", Code(receipt.code))?;
    }
    if let Some(problem) = &receipt.problem {
        // Written by the recipient: control characters would let it draw on the reader's terminal.
        writeln!(out, "  problem    {}", problem.escape_debug().to_string().replace("\\\"", "\""))?;
    }
    writeln!(out, "  directory  {}", receipt.directory_version)?;
    Ok(())
}

/// The key that a COSE receipt says signed it.
pub fn kid(proof: &[u8]) -> String {
    let parsed = CoseReceipt::parse(proof).map_err(|error| error.to_string());
    match parsed.and_then(|cose| cose.kid().map_err(|error| error.to_string())) {
        Ok(kid) => kid.to_string(),
        Err(why) => format!("unreadable: {why}"),
    }
}

/// What the file says, as JSON.
pub fn claims_json(receipt: &Receipt, message: Option<&Message>) -> Value {
    json!({
        "receipt": {
            "message": receipt.message.to_string(),
            "issuer": receipt.issuer.as_str(),
            "addressee": receipt.addressee.as_str(),
            "outcome": receipt.outcome.name(),
            "code": receipt.code,
            "problem": receipt.problem,
            "time": instant_text(receipt.time),
            "directory_version": receipt.directory_version.to_string(),
            "subject": receipt.subject.to_string(),
        },
        "message": message.map(|message| json!({
            "id": message.id.to_string(),
            "sender": message.sender.as_str(),
            "recipient": message.recipient.as_ref().map(|recipient| recipient.as_str()),
            "service": message.service.to_string(),
            "jurisdiction": message.jurisdiction.to_string(),
            "created": instant_text(message.created),
            "payload_length": message.payload_len,
            "payload_sha256": message.payload_digest.to_string(),
        })),
    })
}

/// Everything, as JSON: `verified`, the claims, `responsible`, `directory` and `checks`.
pub fn json(audit: &Audit, stated: Option<&Stated>) -> Value {
    let mut value = claims_json(&audit.receipt, audit.message.as_ref());
    let zone = |zone: &kernpost_codecs::ZoneVersion| json!({ "zone": zone.zone.to_string(), "serial": zone.serial, "digest": zone.digest.to_string() });
    let checks: Vec<Value> = audit
        .checks
        .iter()
        .map(|check| json!({ "check": check.name, "passed": check.passed, "detail": check.detail }))
        .collect();
    if let Some(object) = value.as_object_mut() {
        object.insert("verified".to_owned(), audit.verified().into());
        object.insert("responsible".to_owned(), json!(audit.responsible));
        object.insert("directory".to_owned(), json!(stated.map(|one| one.zones.iter().map(zone).collect::<Vec<_>>())));
        object.insert("checks".to_owned(), checks.into());
    }
    value
}
