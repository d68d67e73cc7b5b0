//! How does an exported message become files? A new folder that only its owner can read, and no file that is there is overwritten.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::operators::pages::{ExportPage, PayloadPage};

/// Makes the folder; one that is there must be empty of what is to be written.
pub(super) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| format!("{}", folder.display()))
}

/// Writes what there is; the paths written.
pub(super) fn write(folder: &Path, page: &ExportPage) -> anyhow::Result<Vec<PathBuf>> {
    let proofs = page.message_proofs_hex.iter().enumerate();
    let proofs = proofs.map(|(number, proof)| (format!("statement.proof{}.cose", number + 1), Some(proof)));
    let files = [
        ("statement.cbor".to_owned(), Some(&page.statement_hex)),
        ("payload".to_owned(), page.payload_hex.as_ref()),
        ("proof.kpr".to_owned(), page.proof_file_hex.as_ref()),
    ];
    let mut written = Vec::new();
    for (name, content) in files.into_iter().chain(proofs) {
        let Some(content) = content else { continue };
        let (path, mut file) = make_file(folder, &name)?;
        file.write_all(&hex::decode(content).context(ANSWER)?)?;
        written.push(path);
    }
    Ok(written)
}

/// Writes a large payload, piece by piece from these offsets on; the path written.
pub(super) fn write_payload(
    folder: &Path,
    mut ask: impl FnMut(u64) -> anyhow::Result<PayloadPage>,
) -> anyhow::Result<PathBuf> {
    let (path, mut file) = make_file(folder, "payload")?;
    let mut next = Some(0);
    while let Some(offset) = next {
        let page = ask(offset)?;
        file.write_all(&hex::decode(page.bytes_hex).context(ANSWER)?)?;
        next = page.next;
    }
    Ok(path)
}

fn make_file(folder: &Path, name: &str) -> anyhow::Result<(PathBuf, File)> {
    let path = folder.join(name);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    Ok((path.clone(), file.with_context(|| format!("{}", path.display()))?))
}

const ANSWER: &str = "the router's answer";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_their_owners_alone_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("out");
        let page = ExportPage {
            message: "de/portal:019a0000-0000-7000-8000-000000000001".parse().unwrap(),
            statement_hex: "a1".to_owned(),
            payload_hex: None,
            payload_apart: None,
            message_proofs_hex: vec!["b2".to_owned()],
            proof_file_hex: Some("c3".to_owned()),
        };
        make_folder(&folder).unwrap();
        let written = write(&folder, &page).unwrap();
        let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["statement.cbor", "proof.kpr", "statement.proof1.cose"]);
        assert_eq!(std::fs::read(&written[1]).unwrap(), [0xc3]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&written[0])), (0o700, 0o600));
        assert!(write(&folder, &page).is_err());
    }
}
