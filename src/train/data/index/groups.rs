//! Which images belong on one side of a split: the same patient's, and those of one picture.

/// Sets of places that are joined and never parted (a disjoint-set forest, halving paths).
#[derive(Debug)]
pub(super) struct Groups {
    parents: Vec<u32>,
}

impl Groups {
    pub(super) fn new(count: usize) -> Self {
        Self {
            parents: (0..count as u32).collect(),
        }
    }

    /// The first place of the group of `place`.
    pub(super) fn first(&mut self, place: usize) -> usize {
        let mut place = place as u32;
        while self.parents[place as usize] != place {
            let above = self.parents[self.parents[place as usize] as usize];
            self.parents[place as usize] = above;
            place = above;
        }
        place as usize
    }

    pub(super) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.first(one), self.first(other));
        let (first, later) = (one.min(other), one.max(other));
        self.parents[later] = first as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_has_one_first_place() {
        let mut groups = Groups::new(6);
        groups.join(4, 2);
        groups.join(5, 4);
        groups.join(0, 1);
        let firsts: Vec<usize> = (0..6).map(|place| groups.first(place)).collect();
        assert_eq!(firsts, [0, 0, 2, 3, 2, 2]);
    }
}
