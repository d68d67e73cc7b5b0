//! How does an exported message become files? A new folder that only its owner can read, and no file that is there is overwritten.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::operators::pages::ExportPage;

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
        let path = folder.join(name);
        let bytes = hex::decode(content).context("the router's answer")?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{}", path.display()))?;
        file.write_all(&bytes)?;
        written.push(path);
    }
    Ok(written)
}

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
