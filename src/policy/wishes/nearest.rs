//! Which allowed word somebody may have meant.

// Two slips are a typo; with three, short words begin to resemble each other.
const MOST_SLIPS: usize = 2;

/// Returns the first of `words` with the fewest slips from `text`, in whichever case; `None` when all are far off.
pub(super) fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.trim().to_lowercase();
    // Comparing costs the product of the lengths, and no word is longer than twice this.
    if 32 < text.len() {
        return None;
    }
    words
        .into_iter()
        .map(|word| (slips(&text, word), word))
        // A word of which every letter had to be changed is not near.
        .filter(|(slips, word)| *slips <= MOST_SLIPS && *slips < word.len().min(text.len()))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, word)| word)
}

/// Counts the letters to add, leave out or change (Levenshtein).
fn slips(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let words = ["evict", "restart", "auto", "notify"];
        assert_eq!(nearest(text, words), expected, "{text}");
    }

    #[test]
    fn a_word_is_found_with_up_to_two_slips() {
        check("evict", Some("evict"));
        check(" Evict ", Some("evict"));
        check("evct", Some("evict"));
        check("evitc", Some("evict"));
        check("restrat", Some("restart"));
        check("notfyi", Some("notify"));
        check("ntofyi", None);
        check("", None);
        check("delete", None);
        check(&"evict".repeat(1000), None);
    }

    #[test]
    fn a_word_that_shares_no_letter_is_not_near() {
        assert_eq!(nearest("no", ["on"]), None);
        assert_eq!(nearest("om", ["on"]), Some("on"));
    }
}
