//! The way to a document, redirect by redirect.

use super::{
    ApprovedTarget, Denied, DeniedKind, Location, Policy,
    source::{Source, check_text},
};
use url::{ParseError, Url};

/// A URL, and where it has redirected to so far: each hop judged in full.
#[derive(Debug)]
pub struct Route {
    /// Where it ends by now.
    target: ApprovedTarget,
    /// Where it came through.
    passed: Vec<ApprovedTarget>,
    max_redirects: usize,
}

impl Route {
    /// Begins at a target, and follows no more redirects than that.
    pub fn new(target: ApprovedTarget, max_redirects: usize) -> Self {
        Self { target, passed: Vec::new(), max_redirects }
    }

    /// What is requested next, or was last.
    pub fn target(&self) -> &ApprovedTarget {
        &self.target
    }

    /// How many redirects were followed.
    pub fn redirects(&self) -> usize {
        self.passed.len()
    }

    /// Whether it has never left the origin at which it began: what is meant for that one
    /// goes to no other, and not to where others send it.
    pub fn is_at_home(&self) -> bool {
        let origin = self.target.url().origin();
        self.passed.iter().all(|passed| passed.url().origin() == origin)
    }

    /// Goes on to where the target redirects to, if that may be.
    pub fn follow(&mut self, location: &Location) -> Result<(), Denied> {
        if self.passed.len() >= self.max_redirects {
            let detail = "the source redirects more often than is followed here: name the URL \
                          that it leads to";
            return Err(self.astray(detail));
        }
        let next = self.next(location)?;
        let here = std::mem::replace(&mut self.target, next);
        self.passed.push(here);
        if self.passed.iter().any(|passed| passed.url() == self.target.url()) {
            return Err(self.astray("the source redirects in a circle"));
        }
        Ok(())
    }

    fn next(&self, location: &Location) -> Result<ApprovedTarget, Denied> {
        let Location::One(location) = location else {
            let detail = "the source redirects to several places at once: name the one you mean";
            return Err(self.astray(detail));
        };
        let here = self.target.url();
        let detail = "the source redirects to what is no URL: name the URL of the document";
        let no_url = || self.astray(detail);
        self.target.grounds().check_length(location).map_err(|_| no_url())?;
        // What is left to mend, a backslash, is refused as it is in the URL of a caller.
        check_text(location).map_err(|_| no_url())?;
        // One that names a scheme or a host is held to what holds for the URL of a caller.
        let whole = match location.strip_prefix("//") {
            Some(_) => Some(format!("{}:{location}", here.scheme())),
            None => {
                let is_relative = Url::parse(location) == Err(ParseError::RelativeUrlWithoutBase);
                (!is_relative).then(|| location.clone())
            }
        };
        if let Some(Err(denied)) = whole.map(|whole| Source::parse(&whole)) {
            let is_malformed = denied.kind == DeniedKind::MalformedUrl;
            return Err(if is_malformed { no_url() } else { self.there(denied) });
        }
        let next = here.join(location).map_err(|_| no_url())?;
        if here.scheme() == "https" && next.scheme() == "http" {
            return Err(self.astray("the source redirects from https to http"));
        }
        let approved = Policy(self.target.grounds()).approve(next.as_str());
        approved.map_err(|denied| match denied.kind {
            DeniedKind::MalformedUrl => no_url(),
            _ => self.there(denied),
        })
    }

    /// What is denied where it redirects to.
    fn there(&self, denied: Denied) -> Denied {
        let detail = format!("the source redirects, and then {}", denied.detail);
        Denied::new(denied.kind, detail, self.after_hops(&denied.reason))
    }

    fn astray(&self, detail: &str) -> Denied {
        Denied::new(DeniedKind::Redirect, detail, self.after_hops(detail))
    }

    /// A reason, with the hop that it is about.
    fn after_hops(&self, reason: &str) -> String {
        let (hop, shown) = (self.passed.len() + 1, self.target.shown());
        format!("redirect {hop}, of {shown}: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Rule;

    fn to(location: &str) -> Location {
        Location::read([location.as_bytes()]).unwrap()
    }

    fn route(max_redirects: usize) -> Route {
        let rules = ["https://a.example", "https://*.b.example/in/", "http://a.example"];
        let rules = rules.iter().map(|url| Rule::parse(url).unwrap()).collect();
        let policy = Policy::new(rules, Vec::new(), Vec::new(), Vec::new());
        Route::new(policy.approve("https://a.example/dir/one?q#f").unwrap(), max_redirects)
    }

    #[test]
    fn each_hop_is_judged() {
        let check = |location: &str, expected: Result<&str, DeniedKind>| {
            let mut route = route(3);
            let followed = route.follow(&to(location)).map_err(|denied| denied.kind);
            assert_eq!(followed.map(|()| route.target().url().as_str()), expected, "{location}");
        };
        check("two", Ok("https://a.example/dir/two"));
        check("/two#x", Ok("https://a.example/two"));
        check("?p", Ok("https://a.example/dir/one?p"));
        check("//x.b.example/in/y", Ok("https://x.b.example/in/y"));
        check("https://x.b.example/out", Err(DeniedKind::Path));
        check("https://x.b.example/in/..%2fout", Err(DeniedKind::Path));
        check("https://evil.example/", Err(DeniedKind::Host));
        check("https://a.example:8443/", Err(DeniedKind::Port));
        check("https://169.254.169.254/", Err(DeniedKind::Address));
        check("https://u@a.example/", Err(DeniedKind::Userinfo));
        check("https://@a.example/", Err(DeniedKind::Userinfo));
        check("//@a.example/", Err(DeniedKind::Userinfo));
        check("https:////a.example/", Err(DeniedKind::Redirect));
        check("////a.example/", Err(DeniedKind::Redirect));
        check("https:two", Err(DeniedKind::Redirect));
        check("file:///etc/passwd", Err(DeniedKind::Scheme));
        check("http://a.example/", Err(DeniedKind::Redirect));
        check("/a b/ü", Ok("https://a.example/a%20b/%C3%BC"));
        check(" https://x.b.example/in/a b ", Ok("https://x.b.example/in/a%20b"));
        check("//ü.b.example/in/", Ok("https://xn--tda.b.example/in/"));
        check("https://x.b.example/in/ü/..%2f../out", Err(DeniedKind::Path));
        check("/\t/evil.example/", Err(DeniedKind::Host));
        check(" //evil.example/", Err(DeniedKind::Host));
        check("https://évil.example/", Err(DeniedKind::Host));
        check("https://a.example /", Err(DeniedKind::Redirect));
        check("https://a.example＠evil.example/", Err(DeniedKind::Redirect));
        check("https://a b@a.example/", Err(DeniedKind::Userinfo));
        check("https:a b", Err(DeniedKind::Redirect));
        check("\\\\evil.example", Err(DeniedKind::Redirect));
        check("/\\evil.example", Err(DeniedKind::Redirect));
        check("https://", Err(DeniedKind::Redirect));
        check(&"x".repeat(9000), Err(DeniedKind::Redirect));
        check("", Err(DeniedKind::Redirect));
        check("#elsewhere", Err(DeniedKind::Redirect));
    }

    #[test]
    fn who_has_left_its_origin_is_at_home_nowhere() {
        let mut route = route(9);
        assert!(route.is_at_home());
        for (location, expected) in [
            ("/one", true),
            ("https://A.example:443/two", true),
            ("https://x.b.example/in/", false),
            ("/in/y", false),
            ("https://a.example/three", false),
        ] {
            route.follow(&to(location)).unwrap();
            assert_eq!(route.is_at_home(), expected, "{location}");
        }
    }

    #[test]
    fn an_address_is_judged_as_one() {
        let rules = ["https://a.example", "https://*:*"].map(|url| Rule::parse(url).unwrap());
        let policy = Policy::new(rules.to_vec(), Vec::new(), Vec::new(), Vec::new());
        let mut route = Route::new(policy.approve("https://a.example/").unwrap(), 3);

        let denied = route.follow(&to("https://0x7f.1/")).unwrap_err();

        assert_eq!(denied.kind, DeniedKind::Address);
        assert!(!denied.detail.contains("127"), "{}", denied.detail);
        assert!(denied.reason.contains("redirect 1, of https://a.example/"), "{}", denied.reason);
    }

    #[test]
    fn there_are_so_many_and_no_circle() {
        let mut straight = route(2);
        straight.follow(&to("/1")).unwrap();
        straight.follow(&to("/2")).unwrap();
        assert_eq!(straight.follow(&to("/3")).unwrap_err().kind, DeniedKind::Redirect);
        assert_eq!(straight.redirects(), 2);

        let mut circle = route(9);
        circle.follow(&to("/1")).unwrap();
        circle.follow(&to("/2")).unwrap();
        assert_eq!(circle.follow(&to("/1")).unwrap_err().kind, DeniedKind::Redirect);
        assert_eq!(route(0).follow(&to("/1")).unwrap_err().kind, DeniedKind::Redirect);
        assert_eq!(route(9).follow(&Location::Several).unwrap_err().kind, DeniedKind::Redirect);
    }
}
