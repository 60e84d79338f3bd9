//! Where the requests of a run come from: a plan that is whole before the run, or one that goes around.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::model::PlannedRequest;

/// The requests of a run, by their position.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The request at `index`. Its due time is the schedule's to say.
    fn request(&self, index: usize) -> Option<PlannedRequest>;

    /// All requests, if their number is known before the run.
    fn plan(&self) -> Option<&[PlannedRequest]>;
}

impl Source for Arc<[PlannedRequest]> {
    fn request(&self, index: usize) -> Option<PlannedRequest> {
        self.get(index).cloned()
    }

    fn plan(&self) -> Option<&[PlannedRequest]> {
        Some(self)
    }
}

/// Rounds through a plan, each with requests of its own, which are made while the one before is sent.
///
/// One thread makes them with [`Self::make`]; it is never more than one round ahead.
#[derive(Debug)]
pub struct Cycles {
    /// Requests of a round.
    len: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The rounds that are there, the first of which has the number `first`, and how many requests of each were taken.
    rounds: VecDeque<(Arc<[PlannedRequest]>, usize)>,
    first: usize,
    /// Whether no more rounds are needed, or can be made.
    over: bool,
}

impl Cycles {
    /// Rounds that begin with `first`, which is not empty.
    pub fn new(first: Arc<[PlannedRequest]>) -> Self {
        let len = first.len().max(1);
        let state = State { rounds: VecDeque::from([(first, 0)]), first: 0, over: false };
        Self { len, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Makes round after round with `make`, which is told their numbers from 1, until [`Self::end`];
    /// each has as many requests as the first.
    ///
    /// # Errors
    /// The first error of `make`, after which no request is there any more.
    pub fn make<E>(
        &self,
        mut make: impl FnMut(usize) -> Result<Arc<[PlannedRequest]>, E>,
    ) -> Result<(), E> {
        let mut number = 1;
        loop {
            let mut state = self.lock();
            while !state.over && state.rounds.len() > 1 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.over {
                return Ok(());
            }
            drop(state);
            match make(number) {
                Ok(round) => self.lock().rounds.push_back((round, 0)),
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            }
            self.changed.notify_all();
            number += 1;
        }
    }

    /// Ends the making of rounds.
    pub fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Cycles {
    /// Waits for the round of `index` to be made. Each request is taken once; a round that was taken whole is dropped.
    fn request(&self, index: usize) -> Option<PlannedRequest> {
        let (number, at) = (index / self.len, index % self.len);
        let mut state = self.lock();
        loop {
            let place = number.checked_sub(state.first)?;
            if let Some((round, taken)) = state.rounds.get_mut(place) {
                *taken += 1;
                let request = PlannedRequest { index, ..round.get(at)?.clone() };
                while state.rounds.front().is_some_and(|(round, taken)| *taken >= round.len()) {
                    state.rounds.pop_front();
                    state.first += 1;
                    self.changed.notify_all();
                }
                return Some(request);
            }
            if state.over {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn plan(&self) -> Option<&[PlannedRequest]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn round(number: usize, len: usize) -> Arc<[PlannedRequest]> {
        let request = |at: usize| PlannedRequest {
            index: at,
            due: Duration::ZERO,
            body: Bytes::from(format!("{number}.{at}")),
            prompt_len: 1,
            vision_len: 0,
            routing_key: None,
            output_len: 1,
            conversation: None,
            asked: crate::model::Asked::default(),
        };
        (0..len).map(request).collect::<Vec<_>>().into()
    }

    #[test]
    fn rounds_follow_each_other_and_no_more_than_two_are_there() {
        for len in [1, 3] {
            let cycles = Cycles::new(round(0, len));
            std::thread::scope(|scope| {
                scope.spawn(|| cycles.make(|number| Ok::<_, ()>(round(number, len))));
                for index in 0..20 {
                    let request = cycles.request(index).unwrap();
                    assert_eq!(request.index, index);
                    assert_eq!(request.body, format!("{}.{}", index / len, index % len));
                    assert!(cycles.lock().rounds.len() <= 2);
                }
                cycles.end();
            });
        }
    }

    #[test]
    fn a_round_that_can_not_be_made_ends_them() {
        let cycles = Cycles::new(round(0, 2));
        assert_eq!(cycles.make(Err::<Arc<[_]>, _>), Err(1));
        assert!(cycles.request(1).is_some());
        assert!(cycles.request(2).is_none());
    }

    #[test]
    fn a_thread_that_comes_late_finds_its_request() {
        let cycles = Cycles::new(round(0, 2));
        std::thread::scope(|scope| {
            scope.spawn(|| cycles.make(|number| Ok::<_, ()>(round(number, 2))));
            for index in [1, 2, 3, 0, 4] {
                assert_eq!(cycles.request(index).unwrap().index, index);
            }
            cycles.end();
        });
    }
}
