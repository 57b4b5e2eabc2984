//! Places for what peers bring: so many at once, and so many of one domain, so that no member takes those of others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use civicmesh_model::names::DomainName;

/// How many there are, and who has them.
#[derive(Debug)]
pub(crate) struct Places {
    all_max: usize,
    domain_max: usize,
    taken: Mutex<BTreeMap<DomainName, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    domain: DomainName,
}

/// There is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    /// The domain has all that one domain may have.
    #[error("too many at once from one domain")]
    OfDomain,
    /// All are taken.
    #[error("too many at once")]
    Any,
}

impl Places {
    /// So many for all, and so many for one domain.
    pub(crate) fn new(all_max: usize, domain_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, domain_max, taken: Mutex::default() })
    }

    /// A place for a domain, if there is one.
    pub(crate) fn take(self: &Arc<Self>, domain: &DomainName) -> Result<Place, NoPlace> {
        let mut taken = self.taken();
        let all: usize = taken.values().sum();
        let of_domain = taken.get(domain).copied().unwrap_or_default();
        if of_domain >= self.domain_max {
            return Err(NoPlace::OfDomain);
        }
        if all >= self.all_max {
            return Err(NoPlace::Any);
        }
        taken.insert(domain.clone(), of_domain + 1);
        Ok(Place { places: Arc::clone(self), domain: domain.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<DomainName, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(of_domain) = taken.get_mut(&self.domain) {
            *of_domain -= 1;
            if *of_domain == 0 {
                taken.remove(&self.domain);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_domain_takes_no_others_place_and_what_is_dropped_is_free_again() {
        let places = Places::new(3, 2);
        let [traffic, health] = ["traffic", "health"].map(|name| name.parse().unwrap());
        let first = places.take(&traffic).unwrap();
        let _second = places.take(&traffic).unwrap();
        assert_eq!(places.take(&traffic).unwrap_err(), NoPlace::OfDomain);
        let _third = places.take(&health).unwrap();
        assert_eq!(places.take(&health).unwrap_err(), NoPlace::Any);
        drop(first);
        let _again = places.take(&health).unwrap();
        assert_eq!(places.taken().values().sum::<usize>(), 3);
    }
}
