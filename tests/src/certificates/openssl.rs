//! RSA-4096 chains of three levels, made by the OpenSSL command line as an administration's PKI would make them.
//!
//! Making RSA keys of this length takes seconds, so one hierarchy serves a whole test process. Its files are gone as soon
//! as they are read.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use kernpost_codecs::Digest;

use super::Credentials;

/// A root, an intermediate CA and three leaves.
#[derive(Debug)]
pub struct RsaHierarchy {
    /// The root's certificate, PEM.
    pub root_pem: String,
    /// A router's; its DNS name is `router.kernpost.test`.
    pub router: RsaLeaf,
    /// A portal's, without any name but its subject.
    pub portal: RsaLeaf,
    /// An authority's; its DNS name is `Office.kernpost.test`.
    pub office: RsaLeaf,
}

/// A leaf with its chain.
#[derive(Debug)]
pub struct RsaLeaf {
    /// Leaf and intermediate, and the leaf's key.
    pub credentials: Credentials,
    /// SHA-256 of its SubjectPublicKeyInfo, as OpenSSL wrote it.
    pub spki: Digest,
}

/// The hierarchy of this test process.
pub fn rsa_hierarchy() -> &'static RsaHierarchy {
    static MADE: OnceLock<RsaHierarchy> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path())
    })
}

const CA: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
const LEAF: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
                    extendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n";

fn make(folder: &Path) -> RsaHierarchy {
    make_keys(folder, &["root", "intermediate", "router", "portal", "office"]);
    let root = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    let selfsigned = ["req", "-x509", "-new", "-key", "root.key", "-subj", "/O=Test/CN=Root", "-days", "9"];
    openssl(folder, &[&selfsigned[..], &root[..4], &["-out", "root.pem"]].concat());
    issue(folder, "intermediate", "root", CA);
    issue(folder, "router", "intermediate", &format!("{LEAF}subjectAltName=DNS:router.kernpost.test,IP:::1\n"));
    issue(folder, "portal", "intermediate", LEAF);
    issue(folder, "office", "intermediate", &format!("{LEAF}subjectAltName=DNS:Office.kernpost.test\n"));
    let leaf = |name: &str| RsaLeaf { credentials: credentials(folder, name), spki: spki(folder, name) };
    RsaHierarchy {
        root_pem: read(folder, "root.pem"),
        router: leaf("router"),
        portal: leaf("portal"),
        office: leaf("office"),
    }
}

/// All at once: each is one process that only computes.
fn make_keys(folder: &Path, names: &[&str]) {
    let making = names.iter().map(|name| {
        let mut command = Command::new("openssl");
        command.args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096", "-out"]);
        command.arg(format!("{name}.key")).current_dir(folder).spawn().unwrap()
    });
    for mut child in making.collect::<Vec<_>>() {
        assert!(child.wait().unwrap().success(), "openssl genpkey failed");
    }
}

fn issue(folder: &Path, name: &str, issuer: &str, extensions: &str) {
    std::fs::write(folder.join("extensions"), extensions).unwrap();
    let (key, subject) = (format!("{name}.key"), format!("/O=Test/CN={name}"));
    openssl(folder, &["req", "-new", "-key", &key, "-subj", &subject, "-out", "request.pem"]);
    let (ca, ca_key, out) = (format!("{issuer}.pem"), format!("{issuer}.key"), format!("{name}.pem"));
    let sign = ["x509", "-req", "-in", "request.pem", "-days", "9", "-extfile", "extensions", "-CAcreateserial"];
    openssl(folder, &[&sign[..], &["-CA", &ca, "-CAkey", &ca_key, "-out", &out]].concat());
}

fn credentials(folder: &Path, name: &str) -> Credentials {
    let chain_pem = read(folder, &format!("{name}.pem")) + &read(folder, "intermediate.pem");
    Credentials { chain_pem, key_pem: read(folder, &format!("{name}.key")) }
}

fn spki(folder: &Path, name: &str) -> Digest {
    openssl(folder, &["pkey", "-in", &format!("{name}.key"), "-pubout", "-outform", "DER", "-out", "spki.der"]);
    Digest::of(&std::fs::read(folder.join("spki.der")).unwrap())
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
