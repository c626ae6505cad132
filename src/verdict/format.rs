//! Figures as people read them.

/// `value` with so many significant digits, never in exponents for the sizes
/// that times have: `0.0123`, `4.56`, `1230`.
pub fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the exponent of a finite double is small"
    )]
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = digits - 1 - magnitude;
    if decimals >= 0 {
        let decimals = usize::try_from(decimals.min(18)).unwrap_or(0);
        format!("{value:.decimals$}")
    } else {
        let unit = 10_f64.powi(-decimals);
        format!("{:.0}", (value / unit).round() * unit)
    }
}

/// Seconds with three significant digits, in the unit that suits them.
pub fn seconds(value: f64) -> String {
    if value == 0.0 {
        return "0 s".to_owned();
    }
    match value {
        v if v < 1e-3 => format!("{} us", significant(v * 1e6, 3)),
        v if v < 1.0 => format!("{} ms", significant(v * 1e3, 3)),
        v if v < 600.0 => format!("{} s", significant(v, 3)),
        v if v < 36_000.0 => format!("{} min", significant(v / 60.0, 3)),
        v => format!("{} h", significant(v / 3600.0, 3)),
    }
}

/// A p value: three digits, or the bound below which digits mean nothing.
pub fn p_value(p: f64) -> String {
    if p < 1e-12 {
        "p < 1e-12".to_owned()
    } else if p < 1e-4 {
        format!("p = {p:.1e}")
    } else {
        format!("p = {}", significant(p, 2))
    }
}

/// A confidence as percent, without rounding it up: `99.9 %`.
pub fn percent(confidence: f64) -> String {
    let text = format!("{:.6}", confidence * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn significant_digits_not_decimals() {
        let cases = [
            (0.012_345, "0.0123"),
            (4.5678, "4.57"),
            (1234.0, "1230"),
            (0.0, "0"),
        ];
        for (value, text) in cases {
            assert_eq!(significant(value, 3), text);
        }
    }

    #[test]
    fn units_suit_the_size() {
        let cases = [
            (0.000_25, "250 us"),
            (0.0531, "53.1 ms"),
            (41.2, "41.2 s"),
            (3600.0, "60.0 min"),
            (90_000.0, "25.0 h"),
        ];
        for (value, text) in cases {
            assert_eq!(seconds(value), text);
        }
    }

    #[test]
    fn confidence_is_never_rounded_up() {
        assert_eq!(percent(0.999), "99.9 %");
        assert_eq!(percent(0.95), "95 %");
        assert_eq!(percent(0.99999), "99.999 %");
    }
}
