use super::*;

const START: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;

fn day(day: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(START + day * DAY))
}

fn names() -> Names {
    Names::of("podrefresh", "podrefresh").unwrap()
}

fn fresh() -> Material {
    Material::renewed(None, &names(), day(0)).unwrap()
}

fn count(material: &Material) -> usize {
    material.authorities.matches("BEGIN").count()
}

/// Returns what follows on `material` at a day, if the API server trusts all of its authorities.
fn advanced(material: &Material, at: u64) -> Option<Material> {
    material.advanced(&names(), day(at), |_| true).unwrap()
}

#[track_caller]
fn check(material: &Material, names: &Names, at: u64, expected: &str) {
    let state = match material.state(names, day(at)) {
        State::Good => "good".to_owned(),
        State::Ageing => "ageing".to_owned(),
        State::Bad(reason) => reason.to_string(),
    };
    assert_eq!(state, expected);
}

#[test]
fn a_certificate_is_renewed_four_months_before_its_end() {
    let refused = "a client would not accept the certificate";
    check(&fresh(), &names(), 0, "good");
    check(&fresh(), &names(), 245, "good");
    check(&fresh(), &names(), 246, "ageing");
    check(&fresh(), &names(), 365, "ageing");
    check(&fresh(), &names(), 366, refused);
    let other = Names::of("podrefresh", "elsewhere").unwrap();
    check(&fresh(), &other, 0, refused);
}

#[test]
fn a_certificate_that_cannot_be_renewed_is_good_to_its_end() {
    let mut foreign = fresh();
    foreign.authority_key = None;
    check(&foreign, &names(), 365, "good");
}

#[test]
fn renewal_keeps_an_authority_that_outlives_the_certificate() {
    let old = fresh();
    for renewed in [
        advanced(&old, 250).unwrap(),
        Material::renewed(Some(&old), &names(), day(250)).unwrap(),
    ] {
        assert_eq!(renewed.authorities, old.authorities);
        assert_ne!(renewed.chain, old.chain);
        check(&renewed, &names(), 250 + 245, "good");
    }
    // Four years on, a certificate still fits in; a day later none does.
    let late = advanced(&old, 4 * 365).unwrap();
    assert_eq!(late.authorities, old.authorities);
    let later = advanced(&old, 4 * 365 + 1).unwrap();
    assert_ne!(later.authorities, old.authorities);
}

/// Returns material of an authority that is too old to sign once more, whose certificate is ageing.
fn late() -> Material {
    let late = Material::renewed(Some(&fresh()), &names(), day(1220)).unwrap();
    check(&late, &names(), 1470, "ageing");
    late
}

#[test]
fn a_new_authority_is_announced_a_day_before_it_signs() {
    let old = late();
    let announced = advanced(&old, 1470).unwrap();
    // The same is served, and both are trusted.
    assert_eq!((&announced.chain, &announced.key), (&old.chain, &old.key));
    assert_eq!(announced.authority_key, old.authority_key);
    assert_eq!(count(&announced), 2);
    assert!(
        announced
            .authorities
            .starts_with(&old.authorities.replace('\r', ""))
    );
    // Its certificate begins an hour before it was made.
    let at = |seconds: u64| UnixTime::since_unix_epoch(Duration::from_secs(START + seconds));
    let due = 1471 * DAY - 3600;
    let at = |seconds| announced.advanced(&names(), at(seconds), |_| true).unwrap();
    assert_eq!(at(due - 1), None);
    let taken_over = at(due).unwrap();
    assert_ne!(taken_over.chain, old.chain);
    assert_eq!(count(&taken_over), 2);
    assert_eq!(
        (&taken_over.authority_key, &taken_over.next_key),
        (&announced.next_key, &None)
    );
    check(&taken_over, &names(), 1471 + 244, "good");
    // Who still serves the old certificate is trusted to its end.
    let slow = Material {
        authorities: taken_over.authorities.clone(),
        ..old
    };
    check(&slow, &names(), 1584, "ageing");
}

#[test]
fn an_authority_that_is_not_published_does_not_sign() {
    let announced = advanced(&late(), 1470).unwrap();
    let asked = |published: bool| {
        let next = chain::certificates(announced.authorities.as_bytes()).unwrap()[1].clone();
        let published = |authority: &CertificateDer<'_>| *authority == next && published;
        announced.advanced(&names(), day(1500), published).unwrap()
    };
    assert_eq!(asked(false), None);
    assert!(asked(true).is_some());
}

#[test]
fn a_certificate_lost_while_an_authority_is_announced_is_signed_by_that_one() {
    let mut lost = advanced(&late(), 1470).unwrap();
    lost.key = "?".to_owned();
    let healed = Material::renewed(Some(&lost), &names(), day(1470)).unwrap();
    assert_eq!((&healed.authority_key, count(&healed)), (&lost.next_key, 2));
    check(&healed, &names(), 1470, "good");
}

#[test]
fn an_announcement_that_is_garbled_is_made_anew() {
    let announced = advanced(&late(), 1470).unwrap();
    for garbled in [
        Material {
            next_key: Some("?".to_owned()),
            ..announced.clone()
        },
        Material {
            next_key: Some(fresh().authority_key.unwrap()),
            ..announced.clone()
        },
        Material {
            authorities: late().authorities,
            ..announced.clone()
        },
    ] {
        let again = advanced(&garbled, 1500).unwrap();
        assert_eq!(again.chain, garbled.chain);
        assert!(advanced(&again, 1502).is_some_and(|next| next.chain != garbled.chain));
    }
}

#[test]
fn an_old_authority_is_trusted_while_it_is_in_date() {
    let old = fresh();
    let rotated = Material::renewed(Some(&old), &names(), day(1600)).unwrap();
    check(&rotated, &names(), 1600, "good");
    assert!(
        rotated
            .authorities
            .ends_with(&old.authorities.replace('\r', ""))
    );
    // The next one drops it.
    let next = Material::renewed(Some(&rotated), &names(), day(3200)).unwrap();
    assert_eq!((count(&rotated), count(&next)), (2, 2));
    let alone = Material::renewed(Some(&old), &names(), day(5 * 365 + 1)).unwrap();
    assert_eq!(count(&alone), 1);
}

#[test]
fn a_bundle_never_grows_beyond_four() {
    let mut material = fresh();
    for expected in [2, 3, 4, 4] {
        material.authority_key = Some("?".to_owned());
        material = Material::renewed(Some(&material), &names(), day(1)).unwrap();
        assert_eq!(count(&material), expected);
    }
}

#[test]
fn what_is_garbled_is_bad_and_is_made_anew() {
    let good = fresh();
    let garble = |change: fn(&mut Material)| {
        let mut garbled = good.clone();
        change(&mut garbled);
        garbled
    };
    for garbled in [
        garble(|m| m.authorities = "?".to_owned()),
        garble(|m| m.chain = String::new()),
        garble(|m| m.key.truncate(60)),
        garble(|m| m.authorities = fresh().authorities),
    ] {
        assert!(matches!(garbled.state(&names(), day(0)), State::Bad(_)));
        let healed = Material::renewed(Some(&garbled), &names(), day(0)).unwrap();
        check(&healed, &names(), 0, "good");
    }
    let garbled = garble(|m| m.authority_key = Some("?".to_owned()));
    let healed = Material::renewed(Some(&garbled), &names(), day(300)).unwrap();
    check(&healed, &names(), 300, "good");
}
