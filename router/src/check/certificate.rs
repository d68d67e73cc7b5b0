//! What does one certificate say that an operator should hear before the first link fails?

use kernpost_codecs::UnixMs;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::rfc4514;
use crate::pki::DEVELOPMENT_ORGANISATION;

/// A certificate's facts, without borrowing it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Subject, RFC 4514.
    pub(super) subject: String,
    /// Issuer, RFC 4514.
    pub(super) issuer: String,
    /// Not before, Unix seconds.
    not_before: i64,
    /// Not after, Unix seconds.
    not_after: i64,
    /// Whether basic constraints make it a CA.
    pub(super) is_ca: bool,
    /// Whether subject or issuer carries the development mark.
    pub(super) development: bool,
    /// Whether its key is id-RSASSA-PSS.
    pub(super) rsa_pss: bool,
    /// Whether its key is Ed25519.
    pub(super) ed25519: bool,
    /// Purposes that its extended key usage leaves out, of serverAuth and clientAuth.
    pub(super) missing_purposes: Vec<&'static str>,
}

/// How a certificate's validity relates to an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Validity {
    /// Valid, and for longer than [`EXPIRY_WARNING_DAYS`].
    Good,
    /// Valid, for this many days.
    EndsIn(i64),
    /// Valid from this time on.
    NotYet(String),
    /// Valid until this time.
    Expired(String),
}

/// Days before expiry from which a warning is given.
const EXPIRY_WARNING_DAYS: i64 = 14;

impl Facts {
    /// Reads a certificate (DER).
    pub(super) fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let algorithm = certificate.public_key().algorithm.oid().to_id_string();
        let marked = |name: &x509_parser::x509::X509Name<'_>| {
            name.iter_organization().any(|o| o.as_str() == Ok(DEVELOPMENT_ORGANISATION))
        };
        let mut missing_purposes = Vec::new();
        if let Ok(Some(usage)) = certificate.extended_key_usage() {
            if !usage.value.server_auth && !usage.value.any {
                missing_purposes.push("serverAuth");
            }
            if !usage.value.client_auth && !usage.value.any {
                missing_purposes.push("clientAuth");
            }
        }
        Ok(Self {
            subject: rfc4514(certificate.subject()),
            issuer: rfc4514(certificate.issuer()),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            is_ca: certificate.is_ca(),
            development: marked(certificate.subject()) || marked(certificate.issuer()),
            rsa_pss: algorithm == RSASSA_PSS,
            ed25519: algorithm == ED25519,
            missing_purposes,
        })
    }

    /// The validity at `now`.
    pub(super) fn validity(&self, now: UnixMs) -> Validity {
        let now = i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX);
        if now < self.not_before {
            return Validity::NotYet(shown(self.not_before));
        }
        if now > self.not_after {
            return Validity::Expired(shown(self.not_after));
        }
        let days = (self.not_after - now) / 86_400;
        if days < EXPIRY_WARNING_DAYS { Validity::EndsIn(days) } else { Validity::Good }
    }
}

/// A time in seconds as an operator reads it.
pub(super) fn shown(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";
const ED25519: &str = "1.3.101.112";
/// The DER of the object identifier id-RSASSA-PSS, as it stands at the front of a PKCS #8 key.
pub(super) const RSASSA_PSS_DER: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
