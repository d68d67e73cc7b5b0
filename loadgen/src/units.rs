//! How are durations, sizes and rates written by people? `200ms`, `30s`, `5m`; `256`, `64KiB`, `10MiB`; `1500/s`, `120k/s`.
//!
//! Parsing says what is wrong and what would be right; nothing is guessed.

use std::time::Duration;

/// Reads a duration: a number and `us`, `µs`, `ms`, `s`, `m` or `h`.
///
/// # Errors
/// What would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("{text:?} is no duration: write a number with its unit, such as 200ms, 30s or 5m")),
    };
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is no duration: write 200ms, 30s or 5m"))?;
    Duration::try_from_secs_f64(value * seconds).map_err(|_| format!("{text:?} is no duration that can be waited for"))
}

/// Reads a size in bytes: a number, or one with `B`, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// What would be right.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" | "kiB" | "K" | "k" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => {
            return Err(format!("{text:?} is no size: write bytes or a number with KiB or MiB, such as 1KiB or 10MiB"));
        }
    };
    let value: u64 = number.parse().map_err(|_| format!("{text:?} is no size: write 256, 1KiB or 10MiB"))?;
    value.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large"))
}

/// Reads a rate in messages per second: a number, with `k` for thousands, with or without `/s`.
///
/// # Errors
/// What would be right.
pub fn rate(text: &str) -> Result<f64, String> {
    let plain = text.trim().strip_suffix("/s").unwrap_or(text.trim());
    let (number, unit) = split(plain);
    let factor = match unit {
        "" => 1.0,
        "k" => 1_000.0,
        _ => return Err(format!("{text:?} is no rate: write messages per second, such as 500, 1500/s or 120k/s")),
    };
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is no rate: write 500, 1500/s or 120k/s"))?;
    if value.is_finite() && value > 0.0 && value * factor <= MOST_PER_S {
        return Ok(value * factor);
    }
    Err(format!("{text:?} is outside of 0 to {MOST_PER_S} messages per second"))
}

/// The highest rate that can be asked for, messages per second.
pub const MOST_PER_S: f64 = 10_000_000.0;

/// The number, and what follows it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    (number.trim(), unit.trim())
}

/// A duration as a person would write it: `1.5 s`, `20 ms`, `310 µs`.
#[must_use]
pub fn shown_us(us: f64) -> String {
    match us {
        _ if us >= 10e6 => format!("{:.1} s", us / 1e6),
        _ if us >= 1e6 => format!("{:.2} s", us / 1e6),
        _ if us >= 10_000.0 => format!("{:.1} ms", us / 1e3),
        _ if us >= 1_000.0 => format!("{:.2} ms", us / 1e3),
        _ => format!("{us:.0} µs"),
    }
}

/// A size as a person would write it: `256 B`, `1 KiB`, `10.0 MiB`.
#[must_use]
pub fn shown_bytes(bytes: f64) -> String {
    match bytes {
        _ if bytes >= 1024.0 * 1024.0 * 1024.0 => format!("{:.2} GiB", bytes / 1024.0 / 1024.0 / 1024.0),
        _ if bytes >= 1024.0 * 1024.0 => format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
        _ if bytes >= 10.0 * 1024.0 => format!("{:.1} KiB", bytes / 1024.0),
        _ => format!("{bytes:.0} B"),
    }
}

/// A count with thin spaces between thousands: `1 234 567`.
#[must_use]
pub fn shown_count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_rates_are_read_with_their_units() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1.5 s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(size("10MiB"), Ok(10 << 20));
        assert_eq!(size("256"), Ok(256));
        assert_eq!(rate("120k/s"), Ok(120_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_an_example() {
        for wrong in ["", "5", "5 parsecs", "-3s", "1e400s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(size("ten").is_err_and(|said| said.contains("KiB")));
        assert!(size("99999999999GiB").is_err());
        for wrong in ["0", "-1", "fast", "11000000"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        assert_eq!(shown_us(310.4), "310 µs");
        assert_eq!(shown_us(20_500.0), "20.5 ms");
        assert_eq!(shown_bytes(1536.0), "1536 B");
        assert_eq!(shown_count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(shown_count(7), "7");
    }
}
