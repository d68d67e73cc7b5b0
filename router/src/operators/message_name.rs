//! How does an operator name a message? `SENDER:ID`, as lists print it: ids are unique for their sender only.

use std::fmt;
use std::str::FromStr;

use kernpost_codecs::{EndpointId, MessageId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A message, by sender and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageName {
    /// Its sender.
    pub sender: EndpointId,
    /// Its id.
    pub id: MessageId,
}

impl fmt::Display for MessageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sender, self.id)
    }
}

impl FromStr for MessageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sender, id) = text.rsplit_once(':').ok_or("write a message as SENDER:ID, as `spool list` prints it")?;
        Ok(Self {
            sender: sender.parse().map_err(|error| format!("sender: {error}"))?,
            id: id.parse().map_err(|error| format!("id: {error}"))?,
        })
    }
}

impl Serialize for MessageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_says_what_is_wrong() {
        let text = "de-sn/portal:019a0000-0000-7000-8000-000000000001";
        assert_eq!(text.parse::<MessageName>().unwrap().to_string(), text);
        assert!("019a0000".parse::<MessageName>().unwrap_err().contains("SENDER:ID"));
        assert!("x:019a0000".parse::<MessageName>().unwrap_err().starts_with("sender:"));
        assert!("de/portal:019a".parse::<MessageName>().unwrap_err().starts_with("id:"));
    }
}
