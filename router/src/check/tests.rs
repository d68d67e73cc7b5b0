#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::directory::tests::TestDirectory;
use crate::pki::{DevPkiFiles, DevPkiRequest, write_dev_pki};

/// A router's files: development PKI, directory, configuration.
struct Site {
    directory: TestDirectory,
    pki: DevPkiFiles,
    extra: String,
    replace: Vec<(String, String)>,
}

impl Site {
    fn new() -> Self {
        let directory = TestDirectory::new(crate::clock::wall());
        let pki = write_dev_pki(&DevPkiRequest {
            out: directory.folder.path().join("pki"),
            trust_domain: "kern.example".parse().unwrap(),
            identities: vec!["kern/router/r1".to_owned(), "kern/router/r2".to_owned()],
            dns: vec![],
            ips: vec!["::1".parse().unwrap()],
        })
        .unwrap();
        Self { directory, pki, extra: String::new(), replace: vec![] }
    }

    fn file(&self) -> PathBuf {
        let mut text = format!(
            r#"
[router]
id = "kern/router/r1"
state = "state"
[listen]
addresses = ["[::1]:0"]
[tls]
certificates = "pki/kern_router_r1.pem"
key = "pki/kern_router_r1.key"
roots = ["pki/ca.pem"]
trust_domain = "kern.example"
[directory]
folder = "zones"
trust_anchor = "trust-anchor.toml"
[admin]
listen = "[::1]:0"
[limits]
links = 4
{}"#,
            self.extra
        );
        for (from, to) in &self.replace {
            assert!(text.contains(from.as_str()), "{from}");
            text = text.replace(from, to);
        }
        let file = self.directory.folder.path().join("router.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn with(mut self, from: &str, to: &str) -> Self {
        self.replace.push((from.to_owned(), to.to_owned()));
        self
    }

    fn problems(&self, dev: bool, intent: Intent) -> Vec<String> {
        match prepare_file(&self.file(), dev, intent) {
            Ok(_) => vec![],
            Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
        }
    }

    fn only_problem(&self) -> String {
        let problems = self.problems(true, Intent::Check);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        problems.into_iter().next().unwrap()
    }
}

#[test]
fn a_sound_site_is_prepared_without_a_warning() {
    let prepared = prepare_file(&Site::new().file(), true, Intent::Check).unwrap();
    assert_eq!(prepared.warnings, Vec::<String>::new());
    assert_eq!(prepared.directory.table.routes().len(), 1);
    assert!(prepared.identities[0].to_string().ends_with("kern/router/r1"));
}

#[test]
fn a_development_pki_is_refused_without_dev() {
    let problems = Site::new().problems(false, Intent::Check);
    assert_eq!(problems.len(), 2, "own certificate and root: {problems:#?}");
    for problem in problems {
        assert!(problem.contains("belongs to a development PKI"), "{problem}");
        assert!(problem.contains("--dev"), "{problem}");
    }
}

#[test]
fn missing_files_are_all_named_at_once() {
    let site = Site::new()
        .with("pki/kern_router_r1.pem", "pki/none.pem")
        .with("pki/kern_router_r1.key", "pki/none.key")
        .with("\"pki/ca.pem\"", "\"pki/none-ca.pem\"")
        .with("folder = \"zones\"", "folder = \"none\"")
        .with("trust-anchor.toml", "none.toml");
    let problems = site.problems(true, Intent::Check).join("\n");
    for expected in ["tls.certificates", "tls.key", "tls.roots[0]", "directory.folder", "directory.trust_anchor"] {
        assert!(problems.contains(expected), "{expected} in\n{problems}");
    }
}

#[test]
fn a_key_of_another_certificate_is_named() {
    let problem = Site::new().with("pki/kern_router_r1.key", "pki/kern_router_r2.key").only_problem();
    assert!(problem.contains("tls.key"), "{problem}");
    assert!(problem.contains("is not the key of"), "{problem}");
}

#[test]
fn a_certificate_the_directory_does_not_bind_to_this_router_is_named() {
    let problem = Site::new().with("pki/kern_router_r1.", "pki/kern_router_r2.").only_problem();
    assert!(problem.contains("binds router kern/router/r1 to uri:"), "{problem}");
}

#[test]
fn unknown_router_ids_are_named_with_those_there_are() {
    let mut site = Site::new().with("id = \"kern/router/r1\"", "id = \"kern/router/r0\"");
    site.extra = "[[peers]]\nrouter = \"kern/router/r9\"\naddress = \"[::1]:1\"\n".to_owned();
    let problems = site.problems(true, Intent::Check).join("\n");
    assert!(problems.contains("router.id: the directory lists no router kern/router/r0"), "{problems}");
    assert!(problems.contains("it lists kern/router/r1, kern/router/r2"), "{problems}");
    assert!(problems.contains("peers[0].router: the directory lists no router kern/router/r9"), "{problems}");
}

#[test]
fn an_expired_certificate_is_named_with_its_time() {
    let site = Site::new();
    let ca = crate::pki::DevCa::generate(&"kern.example".parse().unwrap()).unwrap();
    let now = time::OffsetDateTime::now_utc();
    let days = time::Duration::days;
    let old = ca.leaf_valid("kern/router/r1", &[], &[], now - days(9), now - days(1)).unwrap();
    std::fs::write(&site.pki.leaves[0].certificates, old.certificate_pem).unwrap();
    std::fs::write(&site.pki.leaves[0].key, old.key_pem).unwrap();
    let problem = site.only_problem();
    assert!(problem.contains("tls.certificates"), "{problem}");
    assert!(problem.contains("expired at"), "{problem}");
}

#[test]
fn a_certificate_about_to_expire_is_a_warning() {
    let site = Site::new();
    let ca = crate::pki::DevCa::generate(&"kern.example".parse().unwrap()).unwrap();
    let now = time::OffsetDateTime::now_utc();
    let hours = time::Duration::hours;
    let soon = ca.leaf_valid("kern/router/r1", &[], &[], now - hours(1), now + hours(73)).unwrap();
    std::fs::write(&site.pki.leaves[0].certificates, soon.certificate_pem).unwrap();
    std::fs::write(&site.pki.leaves[0].key, soon.key_pem).unwrap();
    let prepared = prepare_file(&site.file(), true, Intent::Check).unwrap();
    assert!(prepared.warnings[0].contains("expires in 3 days"), "{:?}", prepared.warnings);
}

#[test]
fn a_key_everybody_may_read_is_named() {
    let site = Site::new();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&site.pki.leaves[0].key, open).unwrap();
    let problem = site.only_problem();
    assert!(problem.contains("may be read by every user"), "{problem}");
}

#[test]
fn an_rsa_pss_key_is_named_for_what_it_is() {
    let site = Site::new();
    let folder = site.directory.folder.path();
    std::fs::write(folder.join("pss.pem"), include_str!("testdata/rsa-pss.pem")).unwrap();
    std::fs::write(folder.join("pss.key"), include_str!("testdata/rsa-pss.key")).unwrap();
    let owner = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.join("pss.key"), owner).unwrap();
    let site = site.with("pki/kern_router_r1.pem", "pss.pem").with("pki/kern_router_r1.key", "pss.key");
    let problems = site.problems(true, Intent::Check).join("\n");
    for key in ["tls.certificates", "tls.key"] {
        let named = problems.lines().any(|line| line.contains(key) && line.contains("id-RSASSA-PSS"));
        assert!(named, "{key} in\n{problems}");
    }
}

/// A CA with a revocation list whose next update is `next_update` from now: both as PEM.
fn ca_with_list(next_update: time::Duration) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key).unwrap().pem();
    let now = time::OffsetDateTime::now_utc();
    let list = rcgen::CertificateRevocationListParams {
        this_update: now - time::Duration::days(9),
        next_update: now + next_update,
        crl_number: rcgen::SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&rcgen::Issuer::new(params, key)).unwrap();
    (pem, list.pem().unwrap())
}

fn site_with_list(next_update: time::Duration) -> Site {
    let site = Site::new();
    let (ca, list) = ca_with_list(next_update);
    std::fs::write(site.directory.folder.path().join("other-ca.pem"), ca).unwrap();
    std::fs::write(site.directory.folder.path().join("list.crl"), list).unwrap();
    site.with("roots = [\"pki/ca.pem\"]", "roots = [\"pki/ca.pem\", \"other-ca.pem\"]\ncrls = [\"list.crl\"]")
}

#[test]
fn an_expired_revocation_list_is_named_before_it_refuses_every_peer() {
    let problem = site_with_list(time::Duration::days(-1)).only_problem();
    assert!(problem.contains("tls.crls[0]"), "{problem}");
    assert!(problem.contains("every peer would be refused"), "{problem}");
}

#[test]
fn a_root_without_revocation_list_is_a_warning_when_others_have_one() {
    let site = site_with_list(time::Duration::days(1));
    let prepared = prepare_file(&site.file(), true, Intent::Check).unwrap();
    assert_eq!(prepared.warnings.len(), 1, "{:?}", prepared.warnings);
    assert!(prepared.warnings[0].contains("development CA"), "{:?}", prepared.warnings);
}

#[test]
fn an_encrypted_key_is_named_for_what_it_is() {
    let site = Site::new();
    let pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(&site.pki.leaves[0].key, pem).unwrap();
    let problem = site.only_problem();
    assert!(problem.contains("holds an encrypted key"), "{problem}");
}

#[test]
fn every_error_of_the_directory_is_a_problem_of_its_own() {
    let mut site = Site::new();
    let mut twin = site.directory.zone.routes[0].clone();
    twin.rule = "twin".into();
    twin.endpoints = ["kern/nobody".parse().unwrap()].into();
    site.directory.zone.routes.push(twin);
    site.directory.write_signed_by(1);
    let problems = site.problems(true, Intent::Check);
    assert!(problems.len() >= 2, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.contains("directory.folder")));
    assert!(problems.iter().any(|problem| problem.contains("twin")));
}

#[test]
fn a_router_starts_on_its_last_good_directory_and_says_so() {
    let mut site = Site::new();
    let prepared = prepare_file(&site.file(), true, Intent::Run).unwrap();
    let paths = crate::directory::DirectoryPaths::of(&prepared.config);
    crate::directory::LiveDirectory::start(paths, &prepared.directory).unwrap();
    site.directory.zone.serial = 2;
    site.directory.write_signed_by(1);
    assert_eq!(site.problems(true, Intent::Check).len(), 1);
    let prepared = prepare_file(&site.file(), true, Intent::Run).unwrap();
    assert!(prepared.warnings[0].contains("the last good directory is used instead"), "{:?}", prepared.warnings);
}

#[test]
fn more_memory_than_the_machine_has_is_a_warning() {
    let site = Site::new().with("links = 4", "links = 65536");
    let prepared = prepare_file(&site.file(), true, Intent::Check).unwrap();
    assert!(prepared.warnings[0].contains("lower limits.links"), "{:?}", prepared.warnings);
}

#[test]
fn a_group_of_operators_that_is_not_there_is_named() {
    let to = "[admin]\noperators_group = \"no-such-group\"\n";
    let problem = Site::new().with("[admin]\n", to).only_problem();
    assert!(problem.contains("admin.operators_group: this machine has no group no-such-group"), "{problem}");
}
