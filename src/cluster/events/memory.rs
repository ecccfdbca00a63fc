//! What has been told already, so that it is told once.

use std::collections::{HashSet, VecDeque};

// Enough for what a cluster has outdated at a time; forgotten ones are at worst told once more.
const MEMORY: usize = 16_384;

/// What has been told: the newest of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    order: VecDeque<u64>,
    keys: HashSet<u64>,
}

impl Told {
    /// Notes that `key` is told; says whether it had not been.
    pub(super) fn insert(&mut self, key: u64) -> bool {
        if !self.keys.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > MEMORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }

    /// Has it told again.
    pub(super) fn forget(&mut self, key: u64) {
        // It is mostly the newest.
        let place = self.order.iter().rposition(|told| *told == key);
        place.and_then(|place| self.order.remove(place));
        self.keys.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let mut told = Told::default();
        for key in 0..MEMORY as u64 {
            assert!(told.insert(key));
        }
        assert!(!told.insert(0));
        assert!(told.insert(MEMORY as u64));
        assert!(told.insert(0));
        assert_eq!(told.keys.len(), MEMORY);
        assert_eq!(told.order.len(), MEMORY);
        told.forget(7);
        assert_eq!(
            (told.keys.len(), told.order.len()),
            (MEMORY - 1, MEMORY - 1)
        );
        assert!(told.insert(7));
        told.forget(1);
        assert_eq!(told.order.len(), MEMORY);
    }
}
