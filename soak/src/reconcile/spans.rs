//! Sets of record counters as spans: sorted, apart from each other, so that millions of rows are a few numbers.

/// Counters from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first counter.
    pub first: u64,
    /// The last counter; not below `first`.
    pub last: u64,
}

impl Span {
    /// How many counters.
    pub fn rows(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// What both have.
    pub fn intersection(self, other: Span) -> Option<Span> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Span { first, last })
    }
}

/// How many counters all of them have; those of spans that overlap count each time.
pub fn rows(spans: &[Span]) -> u64 {
    spans
        .iter()
        .fold(0, |rows, span| rows.saturating_add(span.rows()))
}

/// The set that any spans make.
pub fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut set: Vec<Span> = Vec::new();
    for span in spans {
        match set.last_mut() {
            Some(before) if span.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(span.last)
            }
            _ => set.push(span),
        }
    }
    set
}

/// What is in `set` and not in `without`; both are sets.
pub fn difference(set: &[Span], without: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    let mut next = 0;
    for &span in set {
        // None once it is used up: behind the largest number there is no other.
        let mut first = Some(span.first);
        while let (Some(start), Some(hole)) = (first, without.get(next)) {
            if hole.first > span.last {
                break;
            }
            if hole.first > start {
                let last = hole.first - 1;
                left.push(Span { first: start, last });
            }
            if hole.last >= span.last {
                // It may cut the next span as well.
                first = None;
            } else {
                first = Some(start.max(hole.last + 1));
                next += 1;
            }
        }
        left.extend(first.map(|first| Span {
            first,
            last: span.last,
        }));
    }
    left
}

/// What is in both sets.
pub fn intersection(a: &[Span], b: &[Span]) -> Vec<Span> {
    let (mut i, mut j) = (0, 0);
    let mut both = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        both.extend(x.intersection(*y));
        match x.last < y.last {
            true => i += 1,
            false => j += 1,
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;
    use std::collections::BTreeSet;

    fn members(spans: &[Span]) -> BTreeSet<u64> {
        spans.iter().flat_map(|span| span.first..=span.last).collect()
    }

    #[test]
    fn sets_behave_as_sets() {
        let mut random = Random::new(1);
        for _ in 0..3000 {
            let mut some = || {
                let spans: Vec<Span> = (0..random.below(6))
                    .map(|_| {
                        let first = 1 + random.below(40);
                        Span {
                            first,
                            last: first + random.below(12),
                        }
                    })
                    .collect();
                (members(&spans), union(spans))
            };
            let ((a_members, a), (b_members, b)) = (some(), some());
            assert_eq!(members(&a), a_members);
            assert_eq!(rows(&a), a_members.len() as u64, "spans of a set do not overlap");
            for pair in a.windows(2) {
                assert!(pair[0].last + 1 < pair[1].first, "nor touch");
            }
            assert_eq!(
                members(&difference(&a, &b)),
                &a_members - &b_members,
                "{a:?} - {b:?}"
            );
            assert_eq!(
                members(&intersection(&a, &b)),
                &a_members & &b_members,
                "{a:?} & {b:?}"
            );
        }
    }

    #[test]
    fn the_largest_counter_is_no_exception() {
        let all = union(vec![
            Span {
                first: u64::MAX,
                last: u64::MAX,
            },
            Span { first: 1, last: 5 },
        ]);
        assert_eq!(difference(&all, &all), []);
        assert_eq!(intersection(&all, &all), all);
    }
}
