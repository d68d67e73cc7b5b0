//! Where do certificates and keys come from when no PKI is at hand yet?
//!
//! `pki dev` makes a development CA and leaf certificates that every router refuses outside `--dev`; `pki csr` makes a key
//! and a signing request for a real CA. Loading and judging what an operator configured is [`crate::check`]'s part.

use std::path::{Path, PathBuf};

mod csr;
mod dev;
mod files;

pub use csr::{CsrRequest, write_csr};
pub use dev::{DevCa, DevLeaf, DevPkiFiles, DevPkiRequest, LeafFiles, write_dev_pki};
pub use files::write_private;

/// The organisation in every certificate of a development PKI: the mark by which it is refused.
pub const DEVELOPMENT_ORGANISATION: &str = "Kernpost DEVELOPMENT ONLY";

/// A certificate or a key that cannot be made or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("{}: {error}; check the folder and its permissions", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A private key is there already and is not overwritten.
    #[error("{} exists already; remove it or choose another --out, keys are never overwritten", .0.display())]
    KeyExists(PathBuf),
    /// A name cannot stand in a certificate.
    #[error("{what} {text:?}: {reason}; correct the name")]
    Name {
        /// What kind of name.
        what: &'static str,
        /// The name.
        text: String,
        /// Why not.
        reason: String,
    },
    /// The certificate library refused.
    #[error("making {what}: {error}; report this")]
    Library {
        /// What was being made.
        what: &'static str,
        /// Why not.
        #[source]
        error: rcgen::Error,
    },
    /// An existing development CA cannot be used.
    #[error("{}: {reason}; remove the folder and make a new development PKI", path.display())]
    OldCa {
        /// The CA's file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl PkiError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }

    fn library(what: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |error| Self::Library { what, error }
    }
}

/// The file name (without ending) for an identity: `/` is no file name character, and no id has `_`.
#[must_use]
pub fn file_stem(name: &str) -> String {
    name.replace('/', "_")
}

/// The subject alternative names of an identity: its URI, and what else was asked for.
fn alternative_names(uri: &str, dns: &[String], ips: &[std::net::IpAddr]) -> Result<Vec<rcgen::SanType>, PkiError> {
    let name = |what, text: &str| {
        rcgen::string::Ia5String::try_from(text).map_err(|error| PkiError::Name {
            what,
            text: text.to_owned(),
            reason: error.to_string(),
        })
    };
    let mut names = vec![rcgen::SanType::URI(name("identity", uri)?)];
    for host in dns {
        names.push(rcgen::SanType::DnsName(name("DNS name", host)?));
    }
    names.extend(ips.iter().copied().map(rcgen::SanType::IpAddress));
    Ok(names)
}

/// An identity name is the path of a URI: labels of `a-z 0-9 - .`, joined by `/`.
fn check_identity(name: &str) -> Result<(), PkiError> {
    let fault = |reason: String| PkiError::Name { what: "identity", text: name.to_owned(), reason };
    if name.is_empty() || name.len() > 200 {
        return Err(fault("it has 1 to 200 characters".to_owned()));
    }
    if name.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(fault("parts between slashes are not empty, . or ..".to_owned()));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-./".contains(c);
    match name.chars().position(|c| !allowed(c)) {
        Some(position) => Err(fault(format!("character {} is none of a-z 0-9 - . /", position + 1))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
