#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const FILE: &str = "/etc/kernpost/router.toml";

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(Path::new(FILE), text)
}

fn minimal() -> String {
    REFERENCE.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// The reference with every `# key = default` made a setting, and the example peer with it.
fn everything_set() -> String {
    REFERENCE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with("[[") || is_setting(rest) => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_setting(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
}

#[test]
fn the_reference_configuration_is_valid_and_its_comments_are_the_defaults() {
    let by_default = parse(&minimal()).unwrap();
    let spelled_out = parse(&everything_set()).unwrap();
    let shown = |mut config: Config| {
        config.peers.clear();
        config.places.clear();
        // What it is by default follows from another key.
        config.clock = Some(config.clock());
        format!("{config:#?}")
    };
    assert_eq!(spelled_out.peers.len(), 1);
    assert_eq!(shown(spelled_out), shown(by_default));
}

#[test]
fn the_reference_shows_every_key_that_is_read() {
    let text = everything_set();
    let (config, notes) = sections::read_noting(Path::new(FILE), &text);
    assert!(config.is_some(), "{}", Problems(notes.problems));
    for key in notes.asked {
        assert!(notes.places.contains_key(&key), "{key} is missing from the reference");
    }
}

#[test]
fn the_core_is_configured_with_its_own_defaults() {
    let config = parse(&minimal()).unwrap();
    let core = EngineConfig { workers: config.workers(), custody: true, ..EngineConfig::new(config.router.id.clone()) };
    assert_eq!(format!("{:?}", config.engine()), format!("{core:?}"));
    let control = ControlConfig::new(config.router.id.clone(), config.workers());
    assert_eq!(format!("{:?}", config.control()), format!("{control:?}"));
}

#[test]
fn all_faults_are_named_at_once_with_key_and_place() {
    let text = minimal()
        .replace("kern/router/r1", "not an id")
        .replace("[::]:4713", "127.0.0.1:4713")
        .replace("[limits]", "[limits]\nlinks = 0")
        .replacen("folder =", "fodler =", 1);
    let problems = parse(&text).unwrap_err().0;
    let keys: Vec<&str> = problems.iter().filter_map(|p| p.key.as_deref()).collect();
    assert_eq!(
        keys,
        ["router.id", "listen.addresses[0]", "directory.fodler", "limits.links", "directory.folder"],
        "{}",
        Problems(problems.clone())
    );
    assert!(problems.iter().take(4).all(|p| p.place.is_some()));
}

fn faults(section: &str, key_values: &str) -> String {
    let heading = format!("[{section}]\n");
    let text = minimal().replace(&heading, &format!("{heading}{key_values}\n"));
    parse(&text).map_or_else(|problems| problems.to_string(), |_| "no fault".to_owned())
}

#[test]
fn each_rule_names_its_key() {
    for (section, text, expected) in [
        ("admin", "listen = \"[2001:db8::1]:80\"", "admin.listen: 2001:db8::1 is not the IPv6 loopback"),
        ("admin", "listen = \"127.0.0.1:80\"", "admin.listen: 127.0.0.1 is not the IPv6 loopback"),
        ("link", "profile = \"fast\"", "link.profile: is none of the known values"),
        ("link", "keep_alive_ms = 20000\nidle_timeout_ms = 10000", "link.keep_alive_ms: 20000 ms is not below"),
        ("link", "send_window_bytes = 1000", "link.send_window_bytes: 1000 is out of range"),
        ("handshakes", "in_progress = 10\nretry_above = 20", "handshakes.retry_above: 20 is above"),
        ("log", "filter = \"a=loud\"", "log.filter: \"a=loud\""),
        ("limits", "linkz = 3", "limits.linkz: is not a known key\n    do: did you mean limits.links?"),
        ("credit.bulk", "bytes = 1", "credit.bulk.bytes: 1 is out of range"),
    ] {
        let shown = faults(section, text);
        assert!(shown.contains(expected), "{section} {text}:\n{shown}");
    }
}

#[test]
fn a_peer_twice_and_oneself_as_peer_are_refused() {
    let peer = |router: &str, port: u16| format!("\n[[peers]]\nrouter = \"{router}\"\naddress = \"[::1]:{port}\"\n");
    let text = minimal()
        + &peer("kern/router/r2", 1)
        + &peer("kern/router/r2", 2)
        + &peer("kern/router/r3", 2)
        + &peer("kern/router/r1", 4);
    let problems = parse(&text).unwrap_err().to_string();
    for expected in [
        "peers[1].router: kern/router/r2 is listed twice",
        "peers[2].address: [::1]:2 is listed twice",
        "peers[3].router: kern/router/r1 is this router itself",
    ] {
        assert!(problems.contains(expected), "{expected} in\n{problems}");
    }
}

#[test]
fn an_ipv4_peer_needs_ipv4_to_be_on() {
    let peer = "\n[[peers]]\nrouter = \"kern/router/r2\"\naddress = \"192.0.2.1:4713\"\n";
    let problems = parse(&(minimal() + peer)).unwrap_err().to_string();
    assert!(problems.contains("peers[0].address: 192.0.2.1:4713 is IPv4, and IPv4 is off"), "{problems}");
    let on = minimal().replace("[listen]\n", "[listen]\nipv4 = true\n");
    assert!(parse(&(on + peer)).is_ok());
}

#[test]
fn an_ipv4_address_in_the_form_of_ipv6_is_refused_also_with_ipv4_on() {
    let peer = "\n[[peers]]\nrouter = \"kern/router/r2\"\naddress = \"[::ffff:192.0.2.1]:4713\"\n";
    for text in [minimal(), minimal().replace("[listen]\n", "[listen]\nipv4 = true\n")] {
        let text = text.replace("[::]:4713", "[::ffff:127.0.0.1]:4713") + peer;
        let problems = parse(&text).unwrap_err().to_string();
        for place in ["listen.addresses[0]: [::ffff:127.0.0.1]:4713", "peers[0].address: [::ffff:192.0.2.1]:4713"] {
            assert!(problems.contains(&format!("{place} is an IPv4 address in the form")), "{place} in\n{problems}");
        }
    }
}

#[test]
fn relative_paths_start_at_the_configuration_files_folder() {
    let text = minimal().replace("/etc/kernpost/tls/router.key", "tls/router.key");
    let config = parse(&text).unwrap();
    assert_eq!(config.tls.key, Path::new("/etc/kernpost/tls/router.key"));
}

fn with_link(text: &str) -> Config {
    parse(&(minimal().replace("[link]\n", &format!("[link]\n{text}\n")))).unwrap()
}

#[test]
fn a_profile_sets_windows_bundle_and_payload_and_each_knob_goes_over_it() {
    let slow = with_link("profile = \"1mbit\"").link;
    let values = (slow.line.rtt_ms, slow.lane_window_bytes, slow.largest_bundle_bytes, slow.mtu_upper_bound);
    assert_eq!(values, (100, 32_768, 2_500, 1_232));
    let far = with_link("profile = \"1gbit\"\nrtt_ms = 20").link;
    assert_eq!((far.lane_window_bytes, far.send_window_bytes), (5_000_000, 25 << 20));
    let farther = with_link("profile = \"10gbit\"\nrtt_ms = 20").link;
    assert_eq!((farther.lane_window_bytes, farther.send_window_bytes), (50_000_000, 250_000_000));
    let own = with_link(
        "profile = \"1mbit\"\nlane_window_bytes = 40000\nlargest_bundle_bytes = 9000\nmtu_upper_bound = 8952",
    );
    let values = (own.link.lane_window_bytes, own.link.largest_bundle_bytes, own.link.mtu_upper_bound);
    assert_eq!(values, (40_000, 9_000, 8_952));
    assert_eq!(own.engine().largest_bundle, 9_000);
}

#[test]
fn a_peer_may_hang_on_a_line_of_its_own() {
    let peer = "\n[[peers]]\nrouter = \"kern/router/r2\"\naddress = \"[::1]:1\"\n";
    let config = parse(&(minimal() + peer)).unwrap();
    assert_eq!(config.link_with(config.peers.first().unwrap()).lane_window_bytes, 262_144);
    let config = parse(&(minimal() + peer + "profile = \"10mbit\"\n")).unwrap();
    let link = config.link_with(config.peers.first().unwrap());
    assert_eq!((link.lane_window_bytes, link.send_window_bytes, link.mtu_upper_bound), (125_000, 25 << 20, 1_232));
}

#[test]
fn the_worst_case_memory_counts_credit_queues_and_windows_of_every_link() {
    let config = parse(&minimal()).unwrap();
    let windows = 5 * (256 << 10) + ((24 << 20) + (1 << 20)) + 16 * 786_432;
    let per_link = 3 * (8 << 20) + 3 * (8 << 20) + windows;
    assert_eq!(config.worst_case_link_memory(), 256 * per_link);
}

#[test]
fn bundles_for_a_peer_on_a_slow_line_are_as_long_as_that_line_wants_them() {
    let peer = "[[peers]]\nrouter = \"kern/router/r2\"\naddress = \"[::1]:4714\"\n";
    let on_a_line = format!("{peer}profile = \"1mbit\"\n\n[link]");
    let engine = parse(&minimal().replace("[link]", &on_a_line)).unwrap().engine();
    let with = |name: &str| engine.largest_bundle_with(&kernpost_router_core::Peer::Router(name.parse().unwrap()));
    assert_eq!((with("kern/router/r2"), with("kern/router/r3")), (2_500, 262_144));
}

#[test]
fn the_windows_of_the_line_bind_before_the_send_window_on_every_profile() {
    for (name, profile) in LinkProfile::NAMES {
        let config = parse(&minimal().replace("[link]", &format!("[link]\nprofile = \"{name}\""))).unwrap();
        let lane = Line::usual(profile).lane_window_bytes();
        assert_eq!(config.link.lane_window_bytes, lane, "{name}");
        assert!(link_window_bytes(lane) <= config.link.send_window_bytes, "{name}");
        assert!(config.link.send_window_bytes >= config.least_send_window(), "{name}");
    }
}

#[test]
fn a_development_router_assumes_its_clock_unless_told_otherwise() {
    let clock = |text: String| parse(&text).unwrap().clock();
    let dev = || minimal().replace("[router]", "[router]\ndev = true");
    assert_eq!(clock(minimal()), ClockSynchronisation::Kernel);
    assert_eq!(clock(dev()), ClockSynchronisation::Assumed);
    assert_eq!(clock(dev().replace("[clock]", "[clock]\nsynchronisation = \"kernel\"")), ClockSynchronisation::Kernel);
}
