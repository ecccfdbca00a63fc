//! One lookup at one registry: the candidates in turn, each logged in as the registry asks.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, Request, StatusCode, header::HeaderValue};
use url::Url;

use super::{
    Fault, Manifest,
    accounts::Account,
    challenge::{Challenge, Scheme},
    endpoint::Endpoint,
    host::Host,
    manifest::{Deciding, Errand, Reply},
    place::Answered,
    retry_after,
    token::{Tokens, basic},
    transport::Transport,
};
use crate::{
    credentials::{Candidate, Candidates, Credential},
    policy::{Digest, ImageRef},
};

/// All that a lookup needs of the world.
pub(super) struct Session {
    pub(super) transport: Transport,
    pub(super) tokens: Arc<Tokens>,
    pub(super) host: Arc<Host>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) image: Arc<ImageRef>,
}

/// A digest, and how it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) digest: Digest,
    pub(super) deciding: Deciding,
    /// Which candidate was shown to the registry.
    pub(super) candidate: usize,
    /// The limit that another met before, which nodes would show.
    pub(super) limit: Option<Fault>,
}

/// An answer to the first of the candidates that was let in.
struct Admitted<T> {
    answer: T,
    candidate: usize,
    limit: Option<Fault>,
}

impl Answered for Found {
    fn leaves_nodes_out(&self, candidates: &Candidates) -> bool {
        candidates.passes_nodes_over(self.candidate)
    }
}

impl Answered for Manifest {
    /// Whoever hands it out, it is the same.
    fn leaves_nodes_out(&self, _: &Candidates) -> bool {
        false
    }
}

/// What one wants to know of a manifest.
trait Question: Sync {
    type Answer: Send;

    /// Whether one of the candidates has been let in to the repository: its tag came from there.
    const FOLLOWS_TAG: bool;

    /// Asks it.
    fn ask(
        &self,
        errand: &Errand<'_>,
    ) -> impl Future<Output = Result<Reply<Self::Answer>, Fault>> + Send;
}

/// Which digest does it have?
struct ByTag;

/// What stands in the one with this digest?
struct ByDigest<'a>(&'a Digest);

impl Question for ByTag {
    type Answer = (Digest, Deciding);

    const FOLLOWS_TAG: bool = false;

    async fn ask(&self, errand: &Errand<'_>) -> Result<Reply<Self::Answer>, Fault> {
        errand.ask().await
    }
}

impl Question for ByDigest<'_> {
    type Answer = Manifest;

    const FOLLOWS_TAG: bool = true;

    async fn ask(&self, errand: &Errand<'_>) -> Result<Reply<Self::Answer>, Fault> {
        errand.fetch(self.0).await
    }
}

/// What a request shows, and whether a fresher one may fare better.
#[derive(PartialEq, Eq)]
struct Pass {
    header: Option<HeaderValue>,
    renewable: bool,
    /// Who asks so.
    account: Account,
}

impl Pass {
    const NOTHING: Self = Self {
        header: None,
        renewable: false,
        account: Account::Anonymous,
    };
}

impl Session {
    /// Returns the digest, by the first of `candidates` that the registry lets in.
    pub(super) async fn digest(&self, candidates: &Candidates) -> Result<Found, Fault> {
        let admitted = self.let_in(candidates, &ByTag).await?;
        let (digest, deciding) = admitted.answer;
        self.check_asked_for(&digest)?;
        Ok(Found {
            digest,
            deciding,
            candidate: admitted.candidate,
            limit: admitted.limit,
        })
    }

    /// Returns the manifest with `digest`, by which the session's image must be named.
    pub(super) async fn manifest(
        &self,
        candidates: &Candidates,
        digest: &Digest,
    ) -> Result<Manifest, Fault> {
        let admitted = self.let_in(candidates, &ByDigest(digest)).await?;
        Ok(admitted.answer)
    }

    /// Returns the answer to the first of `candidates` that the registry lets in.
    ///
    /// A registry may hide what one may not see: that there is no such image is no last word either, nor is it to
    /// the kubelet, which goes on whatever it is told. Here what ails the whole host ends the row.
    async fn let_in<Q: Question>(
        &self,
        candidates: &Candidates,
        question: &Q,
    ) -> Result<Admitted<Q::Answer>, Fault> {
        let url = self.endpoint.manifest(&self.image);
        let mut told: Option<(u8, Fault)> = None;
        let mut limit = None;
        for (index, candidate) in candidates.in_turn() {
            match self.answer_to(&url, candidate, question).await {
                Ok(answer) => {
                    candidates.note_worked(index);
                    return Ok(Admitted {
                        answer,
                        candidate: index,
                        limit,
                    });
                }
                Err(fault) if self.leaves_others(&fault) => {
                    if fault.is_limit() && candidate.is_shown_by_nodes() {
                        limit = Some(fault.clone());
                    }
                    let weight = fault.weight_for(candidate, Q::FOLLOWS_TAG);
                    // The first of equals says most: the best credential got it.
                    if told.as_ref().is_none_or(|(known, _)| *known < weight) {
                        told = Some((weight, fault));
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(told.map_or(Fault::Unauthorized, |(_, fault)| fault))
    }

    /// Says whether others may get an answer where one of the candidates got `fault`.
    fn leaves_others(&self, fault: &Fault) -> bool {
        match fault {
            // All ask alike, where none of them shows anything.
            Fault::Refused(_) | Fault::RateLimited { .. } if !self.host.wants_login() => false,
            // A limit is that of who was shown, or of all who show nothing.
            fault => fault.is_denial() || fault.is_limit(),
        }
    }

    /// A reference without a tag names its digest itself.
    fn check_asked_for(&self, digest: &Digest) -> Result<(), Fault> {
        match (self.image.tag(), self.image.digest()) {
            (None, Some(asked)) if asked != digest => Err(Fault::Malformed(
                "its manifest has another digest than was asked for",
            )),
            _ => Ok(()),
        }
    }

    async fn answer_to<Q: Question>(
        &self,
        url: &Url,
        candidate: &Candidate,
        question: &Q,
    ) -> Result<Q::Answer, Fault> {
        let scheme = self.host.scheme(self.meet()).await?;
        let scope = format!("repository:{}:pull", self.endpoint.repository(&self.image));
        let pass = self.pass(scheme.as_deref(), &scope, candidate, Duration::MAX);
        let (pass, failure) = match pass.await {
            Ok(pass) => (pass, None),
            // Its token service may have moved. Who shows nothing is told where it is now.
            Err(fault) if fault.is_of_its_service() && self.host.may_want_another_login() => {
                (Pass::NOTHING, Some(fault))
            }
            Err(fault) => return Err(fault),
        };
        let headers = match self.ask(url, candidate, &pass, question).await {
            Ok(Reply::Answer(answer)) => return Ok(answer),
            Ok(Reply::LogIn(headers)) => headers,
            // What keeps the whole host from being asked says more than its token service.
            Err(fault) if fault.spares_host_for().is_some() => return Err(fault),
            Err(fault) => return Err(failure.unwrap_or(fault)),
        };
        // The manifest wants another login than the registry's root, or the token has been revoked.
        let Some(Challenge {
            scheme: wanted,
            scope: wanted_scope,
        }) = Challenge::choose(&headers, &self.endpoint)?
        else {
            return Err(failure.unwrap_or(Fault::Unauthorized));
        };
        let wanted_scope = wanted_scope.unwrap_or_else(|| scope.clone());
        let is_other_scope = wanted_scope != scope;
        let is_news = scheme.as_deref() != Some(&wanted) || is_other_scope;
        self.host.learn(&wanted);
        if let (false, Some(failure)) = (is_news, failure) {
            return Err(failure);
        }
        if !is_news && !pass.renewable {
            return Err(Fault::Unauthorized);
        }
        // Only what was just refused is no good any more: a token for another scope may be known from before.
        let ages = [Duration::MAX, Duration::ZERO];
        let mut refused = pass;
        for max_age in ages.into_iter().skip(usize::from(!is_other_scope)) {
            let renewed = self.pass(Some(&wanted), &wanted_scope, candidate, max_age);
            let renewed = renewed.await?;
            if renewed == refused {
                continue;
            }
            match self.ask(url, candidate, &renewed, question).await? {
                Reply::Answer(answer) => return Ok(answer),
                Reply::LogIn(_) if !renewed.renewable => break,
                Reply::LogIn(_) => refused = renewed,
            }
        }
        Err(Fault::Unauthorized)
    }

    /// Asks with `pass`, which is the one of `candidate`.
    async fn ask<Q: Question>(
        &self,
        url: &Url,
        candidate: &Candidate,
        pass: &Pass,
        question: &Q,
    ) -> Result<Reply<Q::Answer>, Fault> {
        let errand = Errand {
            transport: &self.transport,
            host: &self.host,
            url,
            repository: self.image.repository(),
            authorization: pass.header.as_ref(),
            account: pass.account,
            source: &candidate.source,
        };
        self.host.accounts.check_spared(pass.account)?;
        self.noted(pass.account, question.ask(&errand).await)
    }

    /// Takes note of what `account` was told, if it was told to come later.
    fn noted<T>(&self, account: Account, told: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &told {
            self.host.accounts.note(account, fault);
        }
        told
    }

    /// Returns what `candidate` shows to a registry that wants `scheme`, there for `scope`.
    async fn pass(
        &self,
        scheme: Option<&Scheme>,
        scope: &str,
        candidate: &Candidate,
        max_age: Duration,
    ) -> Result<Pass, Fault> {
        let account = scheme.map_or(Account::Anonymous, |_| Account::of(candidate));
        let (header, renewable) = match (scheme, &candidate.credential) {
            (None, _) | (Some(Scheme::Basic), Credential::Anonymous) => (None, false),
            (Some(Scheme::Basic), Credential::Identity(_)) => return Err(Fault::Unauthorized),
            (Some(Scheme::Basic), credential) => (basic(credential), false),
            (Some(Scheme::Bearer(bearer)), _) => {
                self.host.accounts.check_spared(account)?;
                let token = self.tokens.get(bearer, scope, candidate, max_age).await;
                let (header, renewable) = self.noted(account, token)?;
                (Some(header), renewable)
            }
        };
        Ok(Pass {
            header,
            renewable,
            account,
        })
    }

    /// Asks the registry's root how one logs in.
    ///
    /// Asking for the manifest itself would tell as well, at the price of one more such request. Nothing is shown
    /// for it, so it is left to when nobody in particular may ask.
    async fn meet(&self) -> Result<Option<Scheme>, Fault> {
        self.host.accounts.check_spared(Account::Anonymous)?;
        let request = Request::new(Method::GET, self.endpoint.base());
        let response = self.transport.send(request).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED => {
                let challenge = Challenge::choose(response.headers(), &self.endpoint)?;
                Ok(challenge.map(|challenge| challenge.scheme))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let fault = retry_after::fault_of(response).await;
                self.noted(Account::Anonymous, Err(fault))
            }
            // Whatever is wrong with its root, its manifests may be there.
            _ => Ok(None),
        }
    }
}

impl Fault {
    /// Says whether the token service failed in a way in which one that has moved may fail, too: a denial, as its old
    /// name may lead to who knows nobody. Who limits the rate of requests is still there.
    fn is_of_its_service(&self) -> bool {
        matches!(self, Self::TokenService { source, .. } if !source.is_limit())
    }

    /// Returns how much it says that this is what `candidate` got, beside what others got.
    ///
    /// A credential that was not accepted can be mended, and may be the one that would see the image, as may one whose
    /// time to ask has not come; that nobody in particular is not let in says nothing where a credential was told that
    /// there is no such image. Once one of them has been let in to the repository, who is told so is the one that may
    /// look, unless the one that was let in may not ask now.
    fn weight_for(&self, candidate: &Candidate, was_let_in: bool) -> u8 {
        match (self.root(), &candidate.credential) {
            (Self::RateLimited { .. }, _) if was_let_in => 4,
            (Self::NotFound, _) if was_let_in => 3,
            (Self::NotFound, _) | (Self::RateLimited { .. }, Credential::Anonymous) => 1,
            (_, Credential::Anonymous) => 0,
            _ => 2,
        }
    }
}
