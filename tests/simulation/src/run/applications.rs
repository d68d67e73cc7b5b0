//! What do applications send, how do they answer, and what are they told?

use bytes::Bytes;
use kernpost_codecs::{Code, MessageId};
use kernpost_endpoint::core::{Delivery, FinalOutcome, Outgoing, SendOutcome, Verdict};
use rand::Rng;

use super::{AUTHORITIES, PORTAL, Sent, Simulation};
use crate::network::Event;

impl Simulation {
    pub(super) fn on_send(&mut self) -> Result<(), String> {
        let number = self.next_message;
        self.next_message += 1;
        if self.down[PORTAL] {
            return Ok(());
        }
        let now = self.endpoint_now(PORTAL);
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let id = MessageId::from_parts(now.wall, random);
        let rng = &mut self.network.rng;
        let jurisdiction = if rng.random_bool(0.5) { LEIPZIG } else { DRESDEN };
        let case = rng.random_bool(0.5).then(|| Bytes::from(vec![1, rng.random_range(0..4)]));
        let payload = Bytes::from(vec![7; rng.random_range(0..3_000)]);
        let mut outgoing = Outgoing::new(
            id,
            self.endpoints[PORTAL].id.clone(),
            "99050012104000".parse().unwrap(),
            jurisdiction.parse().unwrap(),
            payload,
        );
        // Cases of one number in two places are two cases.
        outgoing.case = case.map(|case| Bytes::from([&case[..], jurisdiction.as_bytes()].concat()));
        outgoing.lifetime_s = if rng.random_bool(0.2) { rng.random_range(5..60) } else { 86_400 };
        outgoing.timeout_ms = rng.random_range(5_000..120_000);
        if self.endpoints[PORTAL].core.handle_send(now, &outgoing).is_ok() {
            let expires = now.wall.plus_ms(u64::from(outgoing.lifetime_s) * 1_000);
            let first = if jurisdiction == LEIPZIG { 1 } else { 2 };
            self.sent.insert(id, Sent { expires, first });
            self.facts.sent(outgoing.case.as_deref(), id);
            let what = format!(
                "sent to {jurisdiction}, lives {} s, timeout {} ms, case {:?}",
                outgoing.lifetime_s, outgoing.timeout_ms, outgoing.case
            );
            self.facts.note(id, self.network.now_us, what);
        }
        let effects = self.endpoints[PORTAL].effects(now);
        self.apply_endpoint(PORTAL, effects)
    }

    /// The application thinks for a while, and rejects some.
    pub(super) fn on_delivery(&mut self, at: usize, delivery: &Delivery) -> Result<(), String> {
        debug_assert!(AUTHORITIES.contains(&at), "the portal is responsible for nothing");
        let what = format!("handed over at {at}, redelivered {}", delivery.redelivered);
        self.facts.note(delivery.message.id, self.network.now_us, what);
        self.facts.handed_over(&self.endpoints[at], delivery)?;
        let rng = &mut self.network.rng;
        let verdict = if rng.random_bool(0.1) {
            Verdict::Reject { code: Code(1_000), problem: Some("form 7b is missing".to_owned()) }
        } else {
            Verdict::Accept
        };
        // Once in a while it takes minutes: longer than anybody waits for it.
        let hangs = rng.random_bool(0.01);
        let after = if hangs { rng.random_range(30_000_000..300_000_000) } else { rng.random_range(0..THINK_US) };
        let incarnation = self.endpoints[at].incarnation;
        self.thinking.insert((at, incarnation, delivery.id), (delivery.message.id, verdict));
        self.network.after(after, Event::Verdict { at, incarnation, delivery: delivery.id });
        Ok(())
    }

    /// A receipt *custody* is true when it arrives.
    pub(super) fn on_stage(&mut self, outcome: &SendOutcome) -> Result<(), String> {
        let what = format!("stage {} {} by {:?}", outcome.outcome.name(), outcome.code, outcome.issuer);
        self.facts.note(outcome.id, self.network.now_us, what);
        if outcome.outcome != FinalOutcome::Custody {
            return Ok(());
        }
        self.facts.custodies += 1;
        let issuer = outcome.issuer.as_ref().map(ToString::to_string).unwrap_or_default();
        let at = self.router_ids.iter().position(|id| id.as_str() == issuer);
        let sender = self.endpoints[PORTAL].id.clone();
        let Some(at) = at else { return Err(format!("custody signed by {issuer}, which is no router")) };
        self.facts.in_custody.insert(outcome.id, at);
        let Some(router) = self.routers[at].as_mut() else { return Ok(()) };
        if router.custody.holds(&sender, outcome.id) {
            Ok(())
        } else {
            Err(format!("{issuer} signed custody of {} and does not hold it", outcome.id))
        }
    }
}

/// A city with an endpoint of its own, and one without.
const LEIPZIG: &str = "147130000000";
const DRESDEN: &str = "146120000000";
/// An application thinks at most so long about most messages, µs.
const THINK_US: u64 = 60_000;
