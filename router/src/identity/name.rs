//! How is a distinguished name written as an RFC 4514 string, so that everybody writes it alike?
//!
//! Last RDN first; the nine attribute types of RFC 4514 section 3 by short name, every other one as `oid=#hex` of its DER;
//! `+` between the attributes of one RDN, in the certificate's order; escapes of section 2.4, with the hex pair only for
//! control characters. Text in T61 or another type that is not UTF-8 is written in the `#hex` form.

use std::fmt::Write;

use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The name as text.
pub(crate) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut rdns: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let attributes: Vec<String> = rdn.iter().map(attribute).collect();
            attributes.join("+")
        })
        .collect();
    rdns.reverse();
    rdns.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid).map(|(_, short)| *short);
    match (short, attribute.as_str()) {
        (Some(short), Ok(value)) => format!("{short}={}", escaped(value)),
        (short, _) => {
            let value = attribute.attr_value();
            let der = x509_parser::asn1_rs::ToDer::to_der_vec(value).unwrap_or_default();
            format!("{}=#{}", short.unwrap_or(&oid), hex::encode(der))
        }
    }
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (position, c) in value.chars().enumerate() {
        let edge_space = c == ' ' && (position == 0 || position == last);
        let leading_hash = c == '#' && position == 0;
        if c.is_ascii_control() {
            // Writing into a String cannot fail.
            let _ = write!(out, "\\{:02x}", u32::from(c));
            continue;
        }
        if edge_space || leading_hash || "\"+,;<>\\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// RFC 4514 section 3.
const SHORT_NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped_where_rfc_4514_says() {
        assert_eq!(escaped(" a, b "), "\\ a\\, b\\ ");
        assert_eq!(escaped("#1 #2"), "\\#1 #2");
        assert_eq!(escaped("a\"+;<>\\b"), "a\\\"\\+\\;\\<\\>\\\\b");
        assert_eq!(escaped("Müller\u{0}"), "Müller\\00");
        assert_eq!(escaped(" "), "\\ ");
    }
}
