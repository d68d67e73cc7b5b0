//! Leaves, roots, paths and multi-proofs (WIRE 5.1, 5.2, 5.5), and signatures of roots (5.3, 5.4).

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::root::{RootFault, RootSignature, sign_root};
use kernpost_codecs::tree::{Tree, leaf_hash};
use serde_json::{Value, json};

use super::{Keys, hex, message, stored_case, unhex};

pub fn make() -> Value {
    [1_u16, 2, 3, 5, 16, 255, 256].into_iter().map(case).collect()
}

/// Statement i of a tree is the text `statement i`.
fn case(count: u16) -> Value {
    let leaves: Vec<Digest> = (0..count).map(|at| leaf_hash(format!("statement {at}").as_bytes())).collect();
    let tree = Tree::new(&leaves).unwrap();
    let whole = tree.clone().into_partial();
    let last = count - 1;
    let mut indices = vec![0, count / 3, count / 2, last];
    indices.sort_unstable();
    indices.dedup();
    let paths: Vec<Value> =
        indices.iter().map(|index| json!({ "index": index, "path": texts(&tree.proof(*index).unwrap()) })).collect();
    let mut subsets: Vec<Vec<u16>> = vec![
        (0..count).collect(),
        vec![0],
        vec![last],
        indices,
        (0..count).step_by(2).collect(),
        (count / 4..=count / 2).collect(),
        (0..count).filter(|index| index % 7 == 3 || index % 11 == 0).collect(),
    ];
    subsets.sort();
    subsets.dedup();
    let proofs: Vec<Value> = subsets
        .iter()
        .map(|subset| json!({ "indices": subset, "siblings": texts(&whole.multi_proof(subset).unwrap()) }))
        .collect();
    json!({
        "name": if count == 1 { "lone".to_owned() } else { format!("{count}-leaves") },
        "clause": if count == 1 { "WIRE 5.2" } else { "WIRE 5.5" },
        "statements": (0..count).map(|at| format!("statement {at}")).collect::<Vec<_>>(),
        "leaves": texts(&leaves),
        "tree_size": tree.size(),
        "root": tree.root().to_string(),
        "paths": paths,
        "multi_proofs": proofs,
    })
}

fn texts(hashes: &[Digest]) -> Vec<String> {
    hashes.iter().map(ToString::to_string).collect()
}

pub fn make_signatures(keys: &Keys, stored: &[Value]) -> Value {
    let root = Tree::new(&[leaf_hash(&message(1).encode())]).unwrap().root();
    let mut cases = Vec::new();
    let mut add = |name: &str, clause: &str, key: &str, signature: &RootSignature, error: Option<RootFault>| {
        assert_eq!(signature.verify(keys.get(key).public(), &root).err(), error, "{name}");
        let mut case = json!({
            "name": name, "clause": clause, "key": key, "root": root.to_string(),
            "protected": hex(&signature.protected), "signature": hex(&signature.signature),
            "to_be_signed": hex(to_be_signed(&signature.protected, &root)),
        });
        if error.is_some() {
            case["error"] = json!("bad-signature");
        }
        cases.push(case);
    };
    let signed = |name: &str, key: &str| {
        let key = keys.get(key);
        let made = sign_root(key, &root).unwrap();
        let kept = stored_case(stored, name)
            .map(|case| RootSignature { signature: unhex(&case["signature"]).into(), ..made.clone() })
            .filter(|kept| kept.verify(key.public(), &root).is_ok());
        kept.unwrap_or(made)
    };
    let esp256 = signed("esp256", "portal-esp256");
    let ed25519 = signed("ed25519", "portal-ed25519");
    add("esp256", "WIRE 5.3", "portal-esp256", &esp256, None);
    add("ed25519", "WIRE 5.3", "portal-ed25519", &ed25519, None);
    let esp384 = signed("esp384", "portal-esp384");
    let ml_dsa_65 = signed("ml-dsa-65", "portal-ml-dsa-65");
    add("esp384", "WIRE 5.4", "portal-esp384", &esp384, None);
    add("ml-dsa-65", "WIRE 5.4", "portal-ml-dsa-65", &ml_dsa_65, None);

    let edit = |signature: &RootSignature, from: &str, to: &str| {
        let protected = hex(&signature.protected);
        assert!(protected.contains(from));
        RootSignature { protected: unhex(&json!(protected.replacen(from, to, 1))).into(), ..signature.clone() }
    };
    let flip = |bytes: &Bytes, at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        Bytes::from(bytes)
    };
    for (name, key, good) in [
        ("esp256", "portal-esp256", &esp256),
        ("ed25519", "portal-ed25519", &ed25519),
        ("esp384", "portal-esp384", &esp384),
        ("ml-dsa-65", "portal-ml-dsa-65", &ml_dsa_65),
    ] {
        let bad = RootSignature { signature: flip(&good.signature, 40), ..good.clone() };
        add(&format!("{name}-signature-changed"), "WIRE 5.3", key, &bad, Some(RootFault::Signature));
        let bad = RootSignature { signature: good.signature.slice(1..), ..good.clone() };
        add(&format!("{name}-signature-cut"), "WIRE 5.4", key, &bad, Some(RootFault::Signature));
        let bad = RootSignature { protected: flip(&good.protected, 20), ..good.clone() };
        add(&format!("{name}-kid-changed"), "WIRE 5.3", key, &bad, Some(RootFault::OtherKey));
    }
    let (key, good) = ("portal-ed25519", &ed25519);
    let wrong = Some(RootFault::Protected);
    let reserved = Some(RootFault::Algorithm { id: -50 });
    add(
        "algorithm-of-another-key-type",
        "WIRE 5.4",
        key,
        &edit(good, "a40132", "a40128"),
        Some(RootFault::AlgorithmOfKey),
    );
    add("algorithm-reserved", "WIRE 5.4", key, &edit(good, "a40132", "a4013831"), reserved);
    add("algorithm-not-shortest", "WIRE 1.2", key, &edit(good, "a40132", "a4013812"), wrong);
    add("typ-of-an-attach-token", "WIRE 5.3", key, &edit(good, &hex("root+cose"), &hex("atch+cose")), wrong);
    add("vds-2", "WIRE 5.3", key, &edit(good, "19018b01", "19018b02"), wrong);
    add("vds-missing", "WIRE 5.3", key, &edit(&edit(good, "19018b01", ""), "a40132", "a30132"), wrong);
    let esp = hex(keys.get("portal-esp256").public().id().0);
    let own = hex(keys.get(key).public().id().0);
    add("kid-of-another-key", "WIRE 5.3", key, &edit(good, &own, &esp), Some(RootFault::OtherKey));
    Value::Array(cases)
}

/// `["Signature1", protected, h'', root]` (RFC 9052 §4.4).
fn to_be_signed(protected: &[u8], root: &Digest) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut out);
    encoder.array(4).unwrap().str("Signature1").unwrap();
    encoder.bytes(protected).unwrap().bytes(&[]).unwrap().bytes(&root.0).unwrap();
    out
}
