package names

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/boxo/path"
	"github.com/miekg/dns"
)

const (
	// linkLabel is the label in front of a domain that has its links.
	linkLabel = "_dnslink."
	// linkPrefix begins the TXT records that are links.
	linkPrefix = "dnslink="

	// maxDomain bounds a domain, in bytes (RFC 1035).
	maxDomain = 253

	// maxLinks bounds the cache, in domains: less than 4 MiB of usual links.
	maxLinks = 8192

	// maxLinkPath bounds a link's path, in bytes, as it is cached.
	maxLinkPath = 1024

	// maxDNSQueries bounds the domains looked up at a time, and maxQueuedDNS
	// those that wait.
	maxDNSQueries = 32
	maxQueuedDNS  = 1024

	// maxIdleDoH bounds the idle connections for DoH, and idleDoH how long they
	// stay open; maxHeaderDoH bounds the headers of an answer, in bytes.
	maxIdleDoH   = 8
	idleDoH      = 90 * time.Second
	maxHeaderDoH = 16 << 10

	// noLinkTTL is how long the absence of a link is cached.
	noLinkTTL = time.Minute
)

// A DNSConfig configures a DNSLink.
type DNSConfig struct {
	// Static maps domains to paths that are used without a query. nil: none.
	Static map[string]string

	// DoH maps suffixes of domains ("eth"; the longest match wins; "." is all)
	// to URLs of DNS over HTTPS that are used instead of Servers. They must be
	// https, except for addresses of this machine. nil: none.
	DoH map[string]string

	// Servers are the DNS servers, as host and port; each is asked if those
	// before it fail. nil: those of the system.
	Servers []string

	// Timeout bounds a lookup. 0: ten seconds.
	Timeout time.Duration

	// Client is used for DoH, without following redirects. nil: a new one.
	Client *http.Client
}

// A Link is what a domain leads to.
type Link struct {
	// Domain is in lower case, without a dot at its end.
	Domain string
	// Path begins with /ipfs/ or /ipns/.
	Path string
	// TTL is how long the link may still be cached.
	TTL time.Duration
	// From is FromDNS or FromStatic.
	From string
}

// A DNSLink resolves the links of domains, and caches them.
type DNSLink struct {
	static   map[string]string
	doh      map[string]string
	servers  []string
	timeout  time.Duration
	client   *http.Client
	querying chan struct{} // a semaphore of maxDNSQueries
	cache    *lru.Cache[string, cachedLink]

	mu    sync.Mutex // guards the following field
	calls map[string]*dnsCall
}

// A cachedLink is the cached answer for a domain; an empty path means no link.
type cachedLink struct {
	path    string
	expires time.Time
}

// A dnsCall is a query in progress, shared by all callers for the domain.
type dnsCall struct {
	done   chan struct{}
	cancel context.CancelFunc
	// waiters is the number of callers, guarded by DNSLink.mu. The call ends
	// with the last one.
	waiters int
	// The following fields are set before done is closed.
	path string
	ttl  time.Duration
	err  error
}

// NewDNSLink makes a DNSLink. It fails with ErrInvalid.
func NewDNSLink(c DNSConfig) (*DNSLink, error) {
	d := &DNSLink{
		static: make(map[string]string), doh: make(map[string]string),
		servers: slices.Clone(c.Servers), timeout: c.Timeout, client: c.Client,
		querying: make(chan struct{}, maxDNSQueries),
		calls:    make(map[string]*dnsCall),
	}
	var err error
	if d.cache, err = lru.New[string, cachedLink](maxLinks); err != nil {
		return nil, fmt.Errorf("names: DNSLink cache: %w", err)
	}
	if d.timeout == 0 {
		d.timeout = 10 * time.Second
	}
	client := http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    d.timeout,
		MaxIdleConns:           maxIdleDoH,
		IdleConnTimeout:        idleDoH,
		MaxResponseHeaderBytes: maxHeaderDoH,
	}}
	if c.Client != nil {
		client = *c.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	d.client = &client
	for _, domain := range slices.Sorted(maps.Keys(c.Static)) {
		name, err := normalizeDomain(domain)
		if err != nil {
			return nil, fmt.Errorf("names: static DNSLink: %w", err)
		}
		p, err := path.NewPath(c.Static[domain])
		if err != nil {
			return nil, fmt.Errorf("names: static DNSLink of %q: %w: %w", domain, ErrInvalid, err)
		}
		d.static[name] = p.String()
	}
	for _, suffix := range slices.Sorted(maps.Keys(c.DoH)) {
		name := "."
		if suffix != "." {
			var err error
			if name, err = normalizeDomain(strings.Trim(suffix, ".")); err != nil {
				return nil, fmt.Errorf("names: DNS over HTTPS: %w", err)
			}
		}
		if err := checkDoH(c.DoH[suffix]); err != nil {
			return nil, fmt.Errorf("names: DNS over HTTPS for %q: %w", suffix, err)
		}
		d.doh[name] = c.DoH[suffix]
	}
	return d, nil
}

// Close closes idle connections. Queries end with their callers.
func (d *DNSLink) Close() error {
	d.client.CloseIdleConnections()
	return nil
}

func checkDoH(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return fmt.Errorf("URL %q: %w: want https://…", address, ErrInvalid)
	}
	return nil
}

// normalizeDomain returns the form of a domain that is looked up. It fails with
// ErrInvalid.
func normalizeDomain(s string) (string, error) {
	domain := strings.ToLower(strings.TrimSuffix(s, "."))
	if _, ok := dns.IsDomainName(domain); !ok || domain == "" || len(domain) > maxDomain {
		return "", fmt.Errorf("domain %.100q: %w", s, ErrInvalid)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return "", fmt.Errorf("domain %.100q: %w: want labels of letters, digits, - and _, of 1 to 63 bytes", s, ErrInvalid)
		}
	}
	return domain, nil
}

// LookupLocal is Lookup without a query: it returns static and cached links.
// Errors: ErrNotFound, ErrInvalid.
func (d *DNSLink) LookupLocal(domain string) (Link, error) {
	name, link, known, err := d.lookupLocal(domain)
	if err == nil && !known {
		err = fmt.Errorf("names: DNSLink of %s: %w here", name, ErrNotFound)
	}
	return link, err
}

// lookupLocal returns the static or cached link of a domain, and whether there
// is one. It fails if the domain is invalid, or cached as having no link.
func (d *DNSLink) lookupLocal(domain string) (name string, link Link, known bool, err error) {
	if name, err = normalizeDomain(strings.TrimPrefix(domain, linkLabel)); err != nil {
		return "", Link{}, false, fmt.Errorf("names: %w", err)
	}
	if p, ok := d.static[name]; ok {
		return name, Link{Domain: name, Path: p, TTL: maxTTL, From: FromStatic}, true, nil
	}
	if !strings.Contains(name, ".") {
		return "", Link{}, false, fmt.Errorf("names: %.100q: %w: want an IPNS name, or a domain with a dot", domain, ErrInvalid)
	}
	c, ok := d.cache.Get(name)
	if !ok {
		return name, Link{}, false, nil
	}
	ttl := time.Until(c.expires)
	switch {
	case ttl <= 0:
		d.cache.Remove(name)
		return name, Link{}, false, nil
	case c.path == "":
		return "", Link{}, false, fmt.Errorf("names: DNSLink of %s: %w", name, ErrNotFound)
	}
	return name, Link{Domain: name, Path: c.path, TTL: ttl, From: FromDNS}, true, nil
}

// Lookup returns the link of a domain: that of _dnslink.DOMAIN, or else of
// DOMAIN itself. Errors: ErrNotFound; ErrInvalid, also for a domain with more
// than one link; the errors of the query.
func (d *DNSLink) Lookup(ctx context.Context, domain string) (Link, error) {
	name, link, known, err := d.lookupLocal(domain)
	if err != nil || known {
		return link, err
	}
	fail := func(err error) (Link, error) {
		return Link{}, fmt.Errorf("names: DNSLink of %s: %w", name, err)
	}
	d.mu.Lock()
	call := d.calls[name]
	if call == nil {
		if len(d.calls) >= maxDNSQueries+maxQueuedDNS {
			d.mu.Unlock()
			return fail(fmt.Errorf("too many DNS queries in progress: the limit is %d; try again later", len(d.calls)))
		}
		// The call outlives its first caller while others wait for it.
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.timeout)
		call = &dnsCall{done: make(chan struct{}), cancel: cancel}
		d.calls[name] = call
		go d.runCall(shared, call, name)
	}
	call.waiters++
	d.mu.Unlock()
	select {
	case <-call.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	d.releaseCall(call, name)
	switch {
	case err != nil:
		return fail(err)
	case call.err != nil:
		return fail(call.err)
	}
	return Link{Domain: name, Path: call.path, TTL: call.ttl, From: FromDNS}, nil
}

// releaseCall removes a caller from a call. The last one ends the call, and
// waits for its goroutine.
func (d *DNSLink) releaseCall(call *dnsCall, name string) {
	d.mu.Lock()
	call.waiters--
	last := call.waiters == 0
	if last && d.calls[name] == call {
		delete(d.calls, name)
	}
	d.mu.Unlock()
	if last {
		call.cancel()
		<-call.done
	}
}

// runCall is the goroutine of a call.
func (d *DNSLink) runCall(ctx context.Context, call *dnsCall, name string) {
	defer func() {
		d.mu.Lock()
		if d.calls[name] == call {
			delete(d.calls, name)
		}
		d.mu.Unlock()
		close(call.done)
	}()
	select {
	case d.querying <- struct{}{}:
		defer func() { <-d.querying }()
	case <-ctx.Done():
		call.err = ctx.Err()
		return
	}
	call.path, call.ttl, call.err = d.readLinks(ctx, name)
	keep := call.ttl
	switch {
	case errors.Is(call.err, ErrNotFound):
		keep = noLinkTTL
	case call.err != nil:
		return // failures are not cached
	}
	if keep <= 0 {
		return
	}
	d.cache.Add(name, cachedLink{call.path, time.Now().Add(keep)})
}

// readLinks queries the link of a domain.
func (d *DNSLink) readLinks(ctx context.Context, name string) (string, time.Duration, error) {
	for _, at := range []string{linkLabel + name, name} {
		if len(at) > maxDomain {
			continue
		}
		texts, ttl, err := d.lookupTXT(ctx, name, at)
		if err != nil {
			return "", 0, err
		}
		link, err := chooseLink(texts)
		if err != nil {
			return "", 0, err
		}
		if link != "" {
			return link, min(ttl, maxTTL), nil
		}
	}
	return "", 0, ErrNotFound
}

// chooseLink returns the link to /ipfs/ or /ipns/ among TXT records, or "". It
// ignores all other records. Two different links are an error.
func chooseLink(texts []string) (string, error) {
	link := ""
	for _, text := range texts {
		value, ok := strings.CutPrefix(text, linkPrefix)
		if !ok || !strings.HasPrefix(value, "/ipfs/") && !strings.HasPrefix(value, ipnsPrefix) {
			continue
		}
		if len(value) > maxLinkPath || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			continue
		}
		p, err := path.NewPath(value)
		if err != nil {
			continue
		}
		if link != "" && link != p.String() {
			return "", fmt.Errorf("%w: two links, want one: %s and %s", ErrInvalid, link, p)
		}
		link = p.String()
	}
	return link, nil
}
