//! How does a command ask a running router over its socket? One POST of JSON, one answer, then the connection ends.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The answer to a question.
pub(super) fn ask<A: DeserializeOwned>(socket: &Path, page: &str, question: &impl Serialize) -> anyhow::Result<A> {
    let text = ask_text(socket, page, &serde_json::to_vec(question)?)?;
    serde_json::from_str(&text).context("the answer cannot be read; command and router differ in version")
}

fn ask_text(socket: &Path, page: &str, question: &[u8]) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(socket).map_err(|error| anyhow!("{}: {}", socket.display(), why(&error)))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST {page} HTTP/1.1\r\nhost: router\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        question.len()
    );
    stream.write_all(&[head.as_bytes(), question].concat())?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).context("the answer broke off")?;
    let (status, body) = parse(&answer).context("the answer is no HTTP: is this a router's socket?")?;
    if status != 200 {
        let said = serde_json::from_str::<serde_json::Value>(body).ok();
        let error = said.as_ref().and_then(|said| said["error"].as_str()).unwrap_or(body.trim());
        bail!("{error}");
    }
    Ok(body.to_owned())
}

/// Status and body of an answer that is whole, as its content-length says: pages of JSON have one.
fn parse(answer: &[u8]) -> Option<(u16, &str)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    };
    let length = head.lines().find_map(field)?;
    (body.len() == length).then_some((status, body))
}

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!("{error}; is the router running, and has its configuration a [custody] section?")
        }
        ErrorKind::PermissionDenied => format!("{error}; only the router's user, root and admin.operators_group may"),
        _ => error.to_string(),
    }
}

/// Longer than any page takes, also behind a slow fsync.
const PATIENCE: Duration = Duration::from_secs(60);
/// A page of 1,255 lines stays far below.
const LONGEST_ANSWER: u64 = 16 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_none() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(parse(format!("{head}{{}}").as_bytes()), Some((200, "{}")));
        assert_eq!(parse(format!("{head}{{").as_bytes()), None);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n{}"), None);
        assert_eq!(parse(b"SSH-2.0"), None);
    }

    #[test]
    fn a_socket_nobody_made_says_what_to_look_at() {
        let error = ask::<()>(Path::new("/nowhere/admin.sock"), "/spool/list", &()).unwrap_err().to_string();
        assert!(error.contains("/nowhere/admin.sock") && error.contains("[custody]"), "{error}");
    }
}
