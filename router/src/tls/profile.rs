//! Which suites, groups and signature algorithms are offered? AES-GCM only, hybrids first, along TR-02102-2.

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use webpki::aws_lc_rs as algorithms;

use crate::config::TlsProfile;

/// The provider for a profile. `require_hybrid` leaves only the hybrid post-quantum groups.
#[must_use]
pub fn provider(profile: TlsProfile, require_hybrid: bool) -> CryptoProvider {
    let (hybrids, classical): (&[Group], &[Group]) = match profile {
        TlsProfile::Default => (&DEFAULT_HYBRIDS, &CLASSICAL),
        TlsProfile::Strict => (&STRICT_HYBRIDS, &CLASSICAL),
    };
    let mut kx_groups = hybrids.to_vec();
    if !require_hybrid {
        kx_groups.extend_from_slice(classical);
    }
    let base = aws_lc_rs::default_provider();
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups,
        signature_verification_algorithms: match profile {
            TlsProfile::Default => base.signature_verification_algorithms,
            TlsProfile::Strict => STRICT_SIGNATURES,
        },
        ..base
    }
}

type Group = &'static dyn SupportedKxGroup;

static DEFAULT_HYBRIDS: [Group; 2] = [kx_group::SECP256R1MLKEM768, kx_group::X25519MLKEM768];
static STRICT_HYBRIDS: [Group; 1] = [kx_group::SECP256R1MLKEM768];
static CLASSICAL: [Group; 2] = [kx_group::SECP384R1, kx_group::SECP256R1];

/// What the provider checks by default, without Ed25519.
static STRICT_SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithms::ECDSA_P256_SHA256,
        algorithms::ECDSA_P256_SHA384,
        algorithms::ECDSA_P256_SHA512,
        algorithms::ECDSA_P384_SHA256,
        algorithms::ECDSA_P384_SHA384,
        algorithms::ECDSA_P384_SHA512,
        algorithms::ECDSA_P521_SHA256,
        algorithms::ECDSA_P521_SHA384,
        algorithms::ECDSA_P521_SHA512,
        algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        algorithms::RSA_PKCS1_2048_8192_SHA256,
        algorithms::RSA_PKCS1_2048_8192_SHA384,
        algorithms::RSA_PKCS1_2048_8192_SHA512,
        algorithms::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        algorithms::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        algorithms::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[algorithms::ECDSA_P384_SHA384]),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[algorithms::ECDSA_P256_SHA256]),
        (SignatureScheme::ECDSA_NISTP521_SHA512, &[algorithms::ECDSA_P521_SHA512]),
        (SignatureScheme::RSA_PSS_SHA512, &[algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA256, &[algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
    ],
};

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    fn groups(profile: TlsProfile, require_hybrid: bool) -> Vec<NamedGroup> {
        provider(profile, require_hybrid).kx_groups.iter().map(|group| group.name()).collect()
    }

    #[test]
    fn groups_come_in_the_order_of_the_design() {
        assert_eq!(
            groups(TlsProfile::Default, false),
            [NamedGroup::secp256r1MLKEM768, NamedGroup::X25519MLKEM768, NamedGroup::secp384r1, NamedGroup::secp256r1]
        );
        assert_eq!(
            groups(TlsProfile::Strict, false),
            [NamedGroup::secp256r1MLKEM768, NamedGroup::secp384r1, NamedGroup::secp256r1]
        );
    }

    #[test]
    fn require_hybrid_leaves_only_hybrids() {
        assert_eq!(groups(TlsProfile::Default, true), [NamedGroup::secp256r1MLKEM768, NamedGroup::X25519MLKEM768]);
        assert_eq!(groups(TlsProfile::Strict, true), [NamedGroup::secp256r1MLKEM768]);
    }

    #[test]
    fn only_aes_gcm_is_offered_and_strict_has_no_ed25519() {
        for profile in [TlsProfile::Default, TlsProfile::Strict] {
            let provider = provider(profile, false);
            for suite in &provider.cipher_suites {
                assert!(format!("{:?}", suite.suite()).contains("AES"), "{suite:?}");
            }
            let schemes = provider.signature_verification_algorithms.supported_schemes();
            let ed25519 = schemes.contains(&SignatureScheme::ED25519);
            assert_eq!(ed25519, profile == TlsProfile::Default);
        }
    }
}
