//! The mock marketplace: a receipt's last characters decide its verdict.
//!
//! All arithmetic is over UTF-16 units, as in the replaced service, so that both return the same order for a receipt.

use crate::model::{Amount, ReceiptId, Verdict};

/// The mock marketplace's verdict about `receipt`.
pub fn verdict(receipt: &ReceiptId, currency: &str) -> Verdict {
    let units: Vec<u16> = receipt.as_str().encode_utf16().collect();
    let digit = |unit: Option<&u16>| {
        let digit = char::from_u32(u32::from(*unit?))?;
        digit.is_ascii_digit().then(|| digit as u32 - '0' as u32)
    };
    let last = digit(units.last());
    let second_last = units.len().checked_sub(2).and_then(|at| digit(units.get(at)));
    if let (Some(first), Some(second)) = (second_last, last)
        && (first + second) % 6 == 0
    {
        return Verdict::RateLimited { retry_after: None, account_wide: false };
    }
    match last {
        Some(digit) if digit % 2 == 1 => Verdict::Found {
            order_id: order_id(&units),
            amount: amount(&units),
            currency: if currency.is_empty() { "USD" } else { currency }.to_owned(),
        },
        _ => Verdict::Invalid,
    }
}

/// 10 to 1009.
fn amount(units: &[u16]) -> Amount {
    let sum: i64 = units.iter().map(|unit| i64::from(*unit)).sum();
    Amount::whole(sum % 1000 + 10)
}

/// An id in the form of a UUID, of multiples of a hash; its segments can be longer than a UUID's.
fn order_id(units: &[u16]) -> String {
    // Only the shifted part wraps to 32 bits, as JavaScript's `<<` does; the hash itself does not.
    #[expect(clippy::cast_possible_truncation, reason = "that is what `<<` does to its operand there")]
    let hash =
        units.iter().fold(0_i64, |hash, unit| i64::from((hash as i32).wrapping_shl(5)) - hash + i64::from(*unit));
    let part = u128::from(hash.unsigned_abs());
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part, 2 * part, 3 * part, 4 * part, 5 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of 20 receipts.
    #[test]
    fn v26_receipts_become_what_the_contract_lists() {
        for (receipt, amount, id) in [
            ("test1", 507, "06924ddf-d249bbe-13b6e99d-1a49377c-000020db855b"),
            ("test123", 608, "ab365860-1566cb0c0-201a30920-2acd96180-0003580fb9e0"),
            ("testa1", 604, "34488bfe-689117fc-9cd9a3fa-d1222ff8-0001056abbf6"),
            ("order-101", 741, "e89662f3-1d12cc5e6-2b9c328d9-3a2598bcc-00048aefeebf"),
            ("7", 65, "00000037-006e-00a5-00dc-000000000113"),
            ("x 9", 219, "0001c691-38d22-553b3-71a44-00000008e0d5"),
            ("receipt-123", 953, "86dc36e3-10db86dc6-19494a4a9-21b70db8c-0002a24d126f"),
            ("🛒3", 460, "0346b89e-68d713c-9d429da-d1ae278-000010619b16"),
        ] {
            let wanted =
                Verdict::Found { order_id: id.to_owned(), amount: Amount::whole(amount), currency: "USD".into() };
            assert_eq!(verdict(&receipt.into(), ""), wanted, "{receipt}");
        }
        for receipt in ["test24", "RL15", "order-115", "order-100", "INV-2026-0039"] {
            let limited = Verdict::RateLimited { retry_after: None, account_wide: false };
            assert_eq!(verdict(&receipt.into(), "USD"), limited, "{receipt}");
        }
        for receipt in ["test12", "testa", "order-102", "6", "a7b", "r5 ", "A٣"] {
            assert_eq!(verdict(&receipt.into(), "USD"), Verdict::Invalid, "{receipt}");
        }
    }

    #[test]
    fn exactly_sixteen_pairs_are_limited() {
        let limited: Vec<_> = (0..100)
            .map(|pair| format!("{pair:02}"))
            .filter(|pair| matches!(verdict(&format!("r-{pair}").into(), "USD"), Verdict::RateLimited { .. }))
            .collect();
        let wanted = "00 06 15 24 33 39 42 48 51 57 60 66 75 84 93 99";
        assert_eq!(limited.join(" "), wanted);
    }
}
