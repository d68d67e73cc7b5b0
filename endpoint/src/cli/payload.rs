//! Where does a command's payload come from? Small ones and standard input are read into memory; a large file is hashed
//! now and read again as it is sent.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use kernpost_codecs::part::LONGEST_INLINE_PAYLOAD;
use kernpost_endpoint::Outgoing;
use kernpost_endpoint::client::payload_file;
use kernpost_endpoint::core::PayloadFile;

/// What is sent.
#[derive(Debug)]
pub enum Payload {
    Memory(Bytes),
    File(PayloadFile),
}

impl Payload {
    /// From a file, or from standard input for none or `-`.
    pub async fn of(file: Option<&Path>) -> Result<Self> {
        match file.filter(|path| *path != Path::new("-")) {
            Some(path) => {
                let path = path.to_owned();
                tokio::task::spawn_blocking(move || Self::of_file(&path)).await?
            }
            None => Ok(Self::Memory(standard_input()?)),
        }
    }

    /// From a file. Reads all of it; may block.
    pub fn of_file(path: &Path) -> Result<Self> {
        let shown = || format!("cannot read the payload {}", path.display());
        let about = path.metadata().with_context(shown)?;
        if about.is_file() && about.len() > LONGEST_INLINE_PAYLOAD as u64 {
            return Ok(Self::File(payload_file(path).with_context(shown)?));
        }
        Ok(Self::Memory(std::fs::read(path).with_context(shown)?.into()))
    }

    /// The message with this payload.
    pub fn put(self, outgoing: Outgoing) -> Outgoing {
        match self {
            Self::Memory(payload) => Outgoing { payload, ..outgoing },
            Self::File(file) => outgoing.with_file(file),
        }
    }
}

/// Most bytes taken from standard input, which are held in memory.
const MOST_FROM_INPUT: u64 = 32 << 20;

fn standard_input() -> Result<Bytes> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MOST_FROM_INPUT + 1).read_to_end(&mut bytes);
    if read.context("cannot read the payload from standard input")? as u64 > MOST_FROM_INPUT {
        bail!("more than {MOST_FROM_INPUT} bytes on standard input: name a file instead");
    }
    Ok(bytes.into())
}
