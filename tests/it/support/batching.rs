//! A simulated server that batches, for what statistics say of requests that share its steps.
//!
//! Requests wait for a place in the batch; a step gives each running request a token and takes longer the more there
//! are, the more prompts begin in it, and as a slowly changing disturbance has it. Times are virtual: nothing waits.

use std::collections::VecDeque;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp, StandardNormal};
use rbench::analysis::comparison::{Request, Sampled};

/// How requests come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrivals {
    /// So many are always there.
    Closed(usize),
    /// So many per second, as a Poisson process.
    Open(f64),
}

/// A server and its load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batching {
    pub(crate) arrivals: Arrivals,
    pub(crate) requests: usize,
    /// Requests in the batch at most.
    pub(crate) places: usize,
    /// How much slower than usual everything is: 1.05 is 5 %.
    pub(crate) pace: f64,
    /// How much the runs differ among each other, as a share.
    pub(crate) between: f64,
}

/// A request that was served; times in ms.
#[derive(Debug, Clone)]
pub(crate) struct Simulated {
    pub(crate) sent: f64,
    pub(crate) first: f64,
    pub(crate) done: f64,
    pub(crate) gaps: Vec<f64>,
}

struct Running {
    index: usize,
    left: usize,
    last: f64,
}

impl Batching {
    /// Requests of one run, in the order of sending.
    pub(crate) fn run(&self, seed: u64) -> Vec<Simulated> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = {
            let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
            move || -> f64 { StandardNormal.sample(&mut rng) }
        };
        let pace = self.pace * (1.0 + self.between * normal());
        let lengths: Vec<(f64, usize)> = (0..self.requests)
            .map(|_| (rng.random_range(100.0..1000.0), rng.random_range(16..128)))
            .collect();
        let mut due = VecDeque::new();
        let mut at = 0.0;
        for index in 0..self.requests {
            match self.arrivals {
                Arrivals::Closed(n) if index >= n => break,
                Arrivals::Closed(_) => {}
                Arrivals::Open(rate) => at += Exp::new(rate / 1e3).unwrap().sample(&mut rng),
            }
            due.push_back((index, at));
        }
        let mut next = due.len();
        let empty = Simulated { sent: 0.0, first: 0.0, done: 0.0, gaps: Vec::new() };
        let mut served = vec![empty; self.requests];
        let mut running: Vec<Running> = Vec::new();
        let (mut now, mut disturbance) = (0.0_f64, 0.0_f64);
        while !(due.is_empty() && running.is_empty()) {
            if running.is_empty() {
                now = now.max(due.front().map_or(now, |&(_, at)| at));
            }
            let mut prefill = 0.0;
            while running.len() < self.places
                && let Some(&(index, at)) = due.front().filter(|(_, at)| *at <= now)
            {
                due.pop_front();
                served[index].sent = at;
                prefill += lengths[index].0 * 0.01;
                running.push(Running { index, left: lengths[index].1, last: at });
            }
            disturbance = 0.95 * disturbance + 0.03 * normal();
            let step = 8.0 * (1.0 + 0.01 * running.len() as f64) * disturbance.exp() + prefill;
            now += step * pace;
            running.retain_mut(|request| {
                let served = &mut served[request.index];
                if served.first == 0.0 {
                    served.first = now;
                } else {
                    served.gaps.push(now - request.last);
                }
                request.last = now;
                request.left -= 1;
                if request.left == 0 {
                    served.done = now;
                    if matches!(self.arrivals, Arrivals::Closed(_)) && next < self.requests {
                        due.push_back((next, now));
                        next += 1;
                    }
                }
                request.left > 0
            });
        }
        served
    }
}

/// A run as comparisons see it.
pub(crate) fn sampled(requests: Vec<Simulated>) -> Sampled {
    let request = |Simulated { sent, first, done, gaps }: Simulated| Request {
        sent_s: sent / 1e3,
        done_s: done / 1e3,
        completed: true,
        output_tokens: gaps.len() as u64 + 1,
        ttft_ms: Some(first - sent),
        tpot_ms: Some((done - first) / gaps.len() as f64),
        e2e_ms: Some(done - sent),
        itl_ms: gaps,
        ..Request::default()
    };
    let mut run = Sampled::default();
    run.set_requests(requests.into_iter().map(request).collect(), true);
    run
}
