#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::Ipv6Addr;

use super::*;
use crate::observed::tests::busy;
use crate::readiness::Gate;

struct Site {
    server: AdminServer,
    observed: Arc<Observed>,
}

impl Site {
    fn new() -> Self {
        let observed = busy();
        let listen = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0);
        let server = AdminServer::start(listen, observed.clone()).unwrap();
        Self { server, observed }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let url = format!("http://{}{path}", self.server.address());
        let mut response = agent.get(&url).call().unwrap();
        let body = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), body)
    }

    fn json(&self, path: &str) -> (u16, serde_json::Value) {
        let (status, body) = self.get(path);
        (status, serde_json::from_str(&body).unwrap())
    }
}

#[test]
fn a_starting_router_is_live_but_not_ready_and_says_why() {
    let site = Site::new();
    assert_eq!(site.get("/livez").0, 200);
    let (status, page) = site.json("/readyz");
    assert_eq!(status, 503);
    assert_eq!(page["ready"], false);
    assert_eq!(page["reasons"][0]["gate"], "directory");
    for gate in Gate::ALL {
        site.observed.readiness.open(gate);
    }
    let (status, page) = site.json("/readyz");
    assert_eq!((status, page["reasons"].as_array().unwrap().len()), (200, 0));
}

#[test]
fn explain_answers_with_the_rule_and_404_when_nobody_is_responsible() {
    let site = Site::new();
    let (status, page) = site.json("/explain?service=99050012104000&jurisdiction=147130000000");
    assert_eq!(status, 200);
    assert_eq!(page["decision"]["rule"], "leipzig");
    assert_eq!(page["decision"]["endpoints"][0], "kern/amt");
    assert_eq!(page["generation"], 1);
    let (status, page) = site.json("/explain?service=99050012104000&jurisdiction=000000000000");
    assert_eq!((status, &page["decision"]), (404, &serde_json::Value::Null));
}

#[test]
fn a_wrong_route_key_gets_a_reason() {
    let site = Site::new();
    for (query, expected) in [
        ("", "ask /explain"),
        ("?service=99050012104000", "ask /explain"),
        ("?service=98050012104000&jurisdiction=147130000000", "service:"),
        ("?service=99050012104000&jurisdiction=14713", "jurisdiction:"),
    ] {
        let (status, page) = site.json(&format!("/explain{query}"));
        assert_eq!(status, 400, "{query}");
        let error = page["error"].as_str().unwrap();
        assert!(error.contains(expected), "{query}: {error}");
    }
}

#[test]
fn status_and_directory_read_back_as_their_types() {
    let site = Site::new();
    let status: StatusPage = serde_json::from_str(&site.get("/status").1).unwrap();
    assert_eq!(status.ledger.outcomes["accepted"], 30);
    assert!(status.ledger.balanced);
    assert_eq!(status.links[0].rtt_us, Some(1_500));
    assert_eq!(status.refusals["busy"], 3);
    assert_eq!(status.alarms["clock"], 1);
    let directory: DirectoryPage = serde_json::from_str(&site.get("/directory").1).unwrap();
    assert_eq!(directory, status.directory);
    assert_eq!(directory.zones[0].zone, "kern");
}

#[test]
fn metrics_are_prometheus_text() {
    let (status, text) = Site::new().get("/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE kernpost_ready gauge\nkernpost_ready 0\n"), "{text}");
}

#[test]
fn an_unknown_page_names_those_there_are() {
    let (status, page) = Site::new().json("/nothing");
    assert_eq!(status, 404);
    assert!(page["error"].as_str().unwrap().contains("/readyz"));
}

#[test]
fn a_taken_address_is_an_error_that_names_it() {
    let site = Site::new();
    let error = AdminServer::start(site.server.address(), busy()).unwrap_err();
    let port = site.server.address().port().to_string();
    assert!(error.to_string().contains(&port), "{error}");
}

#[test]
fn the_address_is_free_again_after_a_stop() {
    let Site { server, observed } = Site::new();
    let address = server.address();
    drop(server);
    assert!(AdminServer::start(address, observed).is_ok());
}
