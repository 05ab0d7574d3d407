//! Telling whoever watches, without ever waiting for him.
//!
//! Every subscription has one place. A new snapshot replaces the one that was not taken yet and
//! counts it as lagged: a slow reader skips, it never delays the publisher and never costs memory.
//! Dropping a subscription frees its place at once. With nobody watching, publishing is one
//! relaxed load, and the snapshot is not even made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The hub's bound is reached; nothing was subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} subscriptions are open already; close one first")]
pub struct TooManySubscribers {
    /// The bound.
    pub limit: usize,
}

/// Where snapshots of type `T` are published. Clones are the same hub.
#[derive(Debug)]
pub struct Hub<T> {
    shared: Arc<Shared<T>>,
    /// Counts the hub's clones, so that the last one closes it.
    open: Arc<Opening<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    limit: usize,
    watching: AtomicUsize,
    places: Mutex<Places<T>>,
}

#[derive(Debug)]
struct Places<T> {
    by_id: BTreeMap<u64, Place<T>>,
    next_id: u64,
    closed: bool,
}

#[derive(Debug)]
struct Place<T> {
    snapshot: Option<Arc<T>>,
    lagged: u64,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Opening<T>(Arc<Shared<T>>);

impl<T> Clone for Hub<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            open: Arc::clone(&self.open),
        }
    }
}

impl<T> Default for Hub<T> {
    /// At most 256 subscriptions.
    fn default() -> Self {
        Self::new(256)
    }
}

impl<T> Hub<T> {
    /// A hub for at most `limit` subscriptions at a time.
    pub fn new(limit: usize) -> Self {
        let shared = Arc::new(Shared {
            limit,
            watching: AtomicUsize::new(0),
            places: Mutex::new(Places {
                by_id: BTreeMap::new(),
                next_id: 0,
                closed: false,
            }),
        });
        Self {
            open: Arc::new(Opening(Arc::clone(&shared))),
            shared,
        }
    }

    /// Watches from now on; the first snapshot is the next one published.
    ///
    /// # Errors
    /// The hub's bound is reached.
    pub fn subscribe(&self) -> Result<Subscription<T>, TooManySubscribers> {
        let mut places = self.shared.lock();
        if places.by_id.len() >= self.shared.limit {
            let limit = self.shared.limit;
            return Err(TooManySubscribers { limit });
        }
        let id = places.next_id;
        places.next_id += 1;
        let place = Place {
            snapshot: None,
            lagged: 0,
            waker: None,
        };
        places.by_id.insert(id, place);
        self.shared.watching.store(places.by_id.len(), Relaxed);
        drop(places);
        Ok(Subscription {
            shared: Arc::clone(&self.shared),
            id,
        })
    }

    /// How many watch.
    pub fn subscribers(&self) -> usize {
        self.shared.watching.load(Relaxed)
    }

    /// Publishes what `make` returns; does not call it when nobody watches.
    pub fn publish(&self, make: impl FnOnce() -> T) {
        if self.subscribers() == 0 {
            return;
        }
        let snapshot = Arc::new(make());
        let mut wakers = Vec::new();
        let mut places = self.shared.lock();
        for place in places.by_id.values_mut() {
            if place.snapshot.replace(Arc::clone(&snapshot)).is_some() {
                place.lagged += 1;
            }
            wakers.extend(place.waker.take());
        }
        drop(places);
        // Outside of the lock: a waker may run code that takes the snapshot at once.
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Places<T>> {
        // No code of others runs under the lock, so a poisoned one is still whole.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Opening<T> {
    fn drop(&mut self) {
        let mut places = self.0.lock();
        places.closed = true;
        let wakers: Vec<_> = places
            .by_id
            .values_mut()
            .filter_map(|p| p.waker.take())
            .collect();
        drop(places);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One reader's place at a [`Hub`]; dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription<T> {
    shared: Arc<Shared<T>>,
    id: u64,
}

impl<T> Subscription<T> {
    /// The newest snapshot that was not taken yet, and how many were skipped since the last take.
    pub fn take(&self) -> Option<(Arc<T>, u64)> {
        self.shared.lock().by_id.get_mut(&self.id)?.take()
    }

    /// As [`Self::take`], but wakes the task when there is none yet; `None` when the hub is gone.
    pub fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<(Arc<T>, u64)>> {
        let mut places = self.shared.lock();
        let closed = places.closed;
        let Some(place) = places.by_id.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        match place.take() {
            Some(taken) => Poll::Ready(Some(taken)),
            None if closed => Poll::Ready(None),
            None => {
                place.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Place<T> {
    fn take(&mut self) -> Option<(Arc<T>, u64)> {
        let snapshot = self.snapshot.take()?;
        Some((snapshot, std::mem::take(&mut self.lagged)))
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        let mut places = self.shared.lock();
        let place = places.by_id.remove(&self.id);
        self.shared.watching.store(places.by_id.len(), Relaxed);
        drop(places);
        // The snapshot's own drop may be long; it needs no lock.
        drop(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::task::Wake;

    #[derive(Default)]
    struct Bell(AtomicU64);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn value<T: Copy>(taken: Option<(Arc<T>, u64)>) -> Option<(T, u64)> {
        taken.map(|(snapshot, lagged)| (*snapshot, lagged))
    }

    #[test]
    fn nobody_watching_means_no_work() {
        let hub: Hub<u32> = Hub::default();
        hub.publish(|| unreachable!("the snapshot must not be made"));
        drop(hub.subscribe().unwrap());
        hub.publish(|| unreachable!("nor after the last one left"));
    }

    #[test]
    fn a_slow_reader_gets_the_newest_and_the_number_it_missed() {
        let hub = Hub::default();
        let (slow, fast) = (hub.subscribe().unwrap(), hub.subscribe().unwrap());
        for n in 1..=5 {
            hub.publish(|| n);
            assert_eq!(value(fast.take()), Some((n, 0)));
        }
        assert_eq!(value(slow.take()), Some((5, 4)));
        assert_eq!(slow.take(), None);
        hub.publish(|| 6);
        assert_eq!(value(slow.take()), Some((6, 0)), "the lag starts anew");
    }

    #[test]
    fn dropped_subscriptions_vanish_with_their_snapshot() {
        let hub = Hub::new(2);
        let payload = Arc::new(());
        let (first, second) = (hub.subscribe().unwrap(), hub.subscribe().unwrap());
        assert_eq!(hub.subscribe().err(), Some(TooManySubscribers { limit: 2 }));
        hub.publish(|| Arc::clone(&payload));
        drop((first, second));
        assert_eq!((hub.subscribers(), Arc::strong_count(&payload)), (0, 1));
        assert!(hub.subscribe().is_ok(), "its place is free again");
    }

    #[test]
    fn a_waiting_task_is_woken_once_per_wait_and_at_the_end() {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        let mut context = Context::from_waker(&waker);
        let hub = Hub::default();
        let watcher = hub.subscribe().unwrap();
        assert!(watcher.poll_take(&mut context).is_pending());
        hub.publish(|| 1);
        hub.publish(|| 2);
        assert_eq!(bell.0.load(Relaxed), 1);
        let Poll::Ready(taken) = watcher.poll_take(&mut context) else {
            panic!("a snapshot is there");
        };
        assert_eq!(value(taken), Some((2, 1)));
        assert!(watcher.poll_take(&mut context).is_pending());
        let other = hub.clone();
        drop(hub);
        assert!(
            watcher.poll_take(&mut context).is_pending(),
            "a clone keeps it open"
        );
        drop(other);
        assert_eq!(bell.0.load(Relaxed), 2);
        assert!(matches!(watcher.poll_take(&mut context), Poll::Ready(None)));
    }
}
