//! Two network namespaces with a shaped line between them; gone when dropped.
//!
//! The shaping is tc's token bucket at both ends: rate, burst and limit (the queue in bytes). The burst is below what quinn
//! hands over at once, so that the kernel cuts large writes into packets before they queue, as a real line would.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// `here` and `there`.
#[derive(Debug)]
pub struct Namespaces {
    here: String,
    there: String,
}

/// How the line is shaped, in tc's words.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bits a second.
    pub rate: &'static str,
    /// Bytes that may pass at once.
    pub burst: &'static str,
    /// Bytes that may wait; more are dropped.
    pub limit: &'static str,
}

/// Address of this end of the line.
pub const HERE: &str = "fd6b:7000::1";
/// Address of the other end.
pub const THERE: &str = "fd6b:7000::2";

impl Namespaces {
    /// Makes both and the line, shaped when `shape` is given.
    pub fn make(shape: Option<Shape>) -> Result<Self> {
        let id = std::process::id();
        let pair = Self { here: format!("kp-a-{id}"), there: format!("kp-b-{id}") };
        let (here, there) = (pair.here.as_str(), pair.there.as_str());
        for name in [here, there] {
            ip(&["netns", "add", name])?;
        }
        ip(&["link", "add", "line", "netns", here, "type", "veth", "peer", "name", "line", "netns", there])?;
        for (name, address) in [(here, HERE), (there, THERE)] {
            ip(&["-n", name, "addr", "add", &format!("{address}/64"), "dev", "line", "nodad"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "link", "set", "line", "up"])?;
            if let Some(Shape { rate, burst, limit }) = shape {
                let shaped = ["-n", name, "qdisc", "add", "dev", "line", "root", "tbf"];
                let how = ["rate", rate, "burst", burst, "limit", limit];
                run("tc", &[&shaped[..], &how[..]].concat())?;
            }
        }
        Ok(pair)
    }

    /// Words to start a program with so that it runs at this end.
    pub fn here(&self) -> Vec<String> {
        exec(&self.here)
    }

    /// The same for the other end.
    pub fn there(&self) -> Vec<String> {
        exec(&self.there)
    }

    /// Makes every address of `prefix` one of this end's own, so that strangers can come from many networks.
    pub fn own_everything(&self, prefix: &str) -> Result<()> {
        let allow = "echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind";
        ip(&["netns", "exec", &self.here, "sh", "-c", allow])?;
        ip(&["-n", &self.here, "route", "add", "local", prefix, "dev", "lo"])?;
        ip(&["-n", &self.there, "route", "add", prefix, "via", HERE])
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.here, &self.there] {
            // What is not there any more need not be removed.
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn exec(name: &str) -> Vec<String> {
    ["ip", "netns", "exec", name].map(str::to_owned).to_vec()
}

fn ip(arguments: &[&str]) -> Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {said} (network namespaces need root)", arguments.join(" "));
    Ok(())
}
