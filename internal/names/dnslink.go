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

	"github.com/ipfs/boxo/path"
	"github.com/miekg/dns"
)

const (
	// linkLabel is the label below which a domain's links are.
	linkLabel = "_dnslink."
	// linkPrefix begins the TXT records that are links.
	linkPrefix = "dnslink="

	// maxDomain bounds a domain, in bytes (RFC 1035).
	maxDomain = 253

	// maxLinks bounds the cache, in domains: below 4 MiB of usual links.
	maxLinks = 8192

	// maxLinkPath bounds what a link leads to, in bytes, as it is cached.
	maxLinkPath = 1024

	// maxDNSAsking is how many domains are asked for at a time, and maxDNSCalls
	// how many may wait for their turn with them.
	maxDNSAsking = 32
	maxDNSCalls  = 1024

	// maxIdleDoH is how many connections for DoH are kept, and idleDoH how long;
	// maxHeaderDoH bounds the headers of an answer, in bytes.
	maxIdleDoH   = 8
	idleDoH      = 90 * time.Second
	maxHeaderDoH = 16 << 10

	// noLinkTTL is how long it is remembered that a domain has no link.
	noLinkTTL = time.Minute
)

// A DNSConfig says where DNSLinks are read.
type DNSConfig struct {
	// Static are links that are known without asking: of a domain the path.
	// nil: none.
	Static map[string]string

	// DoH are the URLs of DNS over HTTPS to ask instead of Servers: by the
	// suffix of the domain ("eth"; the longest that fits counts), "." for all.
	// https alone, but for addresses of this machine. nil: none.
	DoH map[string]string

	// Servers are the DNS servers to ask, as host and port; the second is
	// asked if the first one fails. nil: those of the system.
	Servers []string

	// Timeout bounds a look-up. 0: ten seconds.
	Timeout time.Duration

	// Client is used for DoH. nil: one of its own. Redirects are not followed.
	Client *http.Client
}

// A Link is what a domain leads to.
type Link struct {
	// Domain in lower case, without a dot at its end.
	Domain string
	// Path begins with /ipfs/ or /ipns/.
	Path string
	// TTL is how long that may still be cached.
	TTL time.Duration
	// From is FromDNS or FromStatic.
	From string
}

// A DNSLink reads the links of domains, and caches them.
type DNSLink struct {
	static  map[string]string
	doh     map[string]string
	servers []string
	timeout time.Duration
	client  *http.Client
	asking  chan struct{} // a place for each domain that is asked for

	mu    sync.Mutex // guards what follows
	cache map[string]cachedLink
	calls map[string]*dnsCall
}

// A cachedLink is what was found for a domain; without a path there is no link.
type cachedLink struct {
	path    string
	expires time.Time
}

// A dnsCall is a question that is under way, shared by all who ask it.
type dnsCall struct {
	done   chan struct{}
	cancel context.CancelFunc
	// asking is how many wait for it; guarded by DNSLink.mu. When the last one
	// is gone, the call ends.
	asking int
	// What follows is set before done is closed.
	path string
	ttl  time.Duration
	err  error
}

// NewDNSLink makes a DNSLink.
func NewDNSLink(c DNSConfig) (*DNSLink, error) {
	d := &DNSLink{
		static: make(map[string]string), doh: make(map[string]string),
		servers: slices.Clone(c.Servers), timeout: c.Timeout, client: c.Client,
		asking: make(chan struct{}, maxDNSAsking),
		cache:  make(map[string]cachedLink), calls: make(map[string]*dnsCall),
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
		name, err := domainOf(domain)
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
			if name, err = domainOf(strings.Trim(suffix, ".")); err != nil {
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

// Close closes the connections to the servers that are kept. What is asked ends
// with who asks.
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
		return fmt.Errorf("%w: %q, want https://…", ErrInvalid, address)
	}
	return nil
}

// domainOf brings a domain into the form it is looked up in. It fails with
// ErrInvalid.
func domainOf(s string) (string, error) {
	domain := strings.ToLower(strings.TrimSuffix(s, "."))
	if _, ok := dns.IsDomainName(domain); !ok || domain == "" || len(domain) > maxDomain {
		return "", fmt.Errorf("%.100q: %w: it is no domain", s, ErrInvalid)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return "", fmt.Errorf("%.100q: %w: it is no domain", s, ErrInvalid)
		}
	}
	return domain, nil
}

// Known is Lookup for what is known without asking. Errors: ErrNotFound,
// ErrInvalid.
func (d *DNSLink) Known(domain string) (Link, error) {
	name, link, known, err := d.known(domain)
	if err == nil && !known {
		err = fmt.Errorf("names: DNSLink of %s: %w here", name, ErrNotFound)
	}
	return link, err
}

// known tells what is known of a domain: its link, or, by an error, that it has
// none.
func (d *DNSLink) known(domain string) (name string, link Link, known bool, err error) {
	if name, err = domainOf(strings.TrimPrefix(domain, linkLabel)); err != nil {
		return "", Link{}, false, fmt.Errorf("names: %w", err)
	}
	if p, ok := d.static[name]; ok {
		return name, Link{Domain: name, Path: p, TTL: maxTTL, From: FromStatic}, true, nil
	}
	if !strings.Contains(name, ".") {
		return "", Link{}, false, fmt.Errorf("names: %.100q: %w: it is neither the name of a key nor a domain", domain, ErrInvalid)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.cache[name]
	if !ok {
		return name, Link{}, false, nil
	}
	ttl := time.Until(c.expires)
	switch {
	case ttl <= 0:
		delete(d.cache, name)
		return name, Link{}, false, nil
	case c.path == "":
		return "", Link{}, false, fmt.Errorf("names: DNSLink of %s: %w", name, ErrNotFound)
	}
	return name, Link{Domain: name, Path: c.path, TTL: ttl, From: FromDNS}, true, nil
}

// Lookup returns where a domain leads: the link of _dnslink.DOMAIN, or, where
// there is none, of DOMAIN itself. Errors: ErrNotFound, ErrInvalid, which is
// also for domains with more links than one; what the resolver failed with.
func (d *DNSLink) Lookup(ctx context.Context, domain string) (Link, error) {
	name, link, known, err := d.known(domain)
	if err != nil || known {
		return link, err
	}
	fail := func(err error) (Link, error) {
		return Link{}, fmt.Errorf("names: DNSLink of %s: %w", name, err)
	}
	d.mu.Lock()
	call := d.calls[name]
	if call == nil {
		if len(d.calls) >= maxDNSAsking+maxDNSCalls {
			d.mu.Unlock()
			return fail(fmt.Errorf("%d domains are being asked for already", len(d.calls)))
		}
		// It outlives who began it, as long as somebody else waits for it.
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.timeout)
		call = &dnsCall{done: make(chan struct{}), cancel: cancel}
		d.calls[name] = call
		go d.run(shared, call, name)
	}
	call.asking++
	d.mu.Unlock()
	select {
	case <-call.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	d.leave(call, name)
	switch {
	case err != nil:
		return fail(err)
	case call.err != nil:
		return fail(call.err)
	}
	return Link{Domain: name, Path: call.path, TTL: call.ttl, From: FromDNS}, nil
}

// leave ends a call when nobody waits for it any more, and then waits until it
// has ended: so the last one who asked is its owner.
func (d *DNSLink) leave(call *dnsCall, name string) {
	d.mu.Lock()
	call.asking--
	last := call.asking == 0
	if last && d.calls[name] == call {
		delete(d.calls, name)
	}
	d.mu.Unlock()
	if last {
		call.cancel()
		<-call.done
	}
}

// run is the goroutine of a call.
func (d *DNSLink) run(ctx context.Context, call *dnsCall, name string) {
	defer func() {
		d.mu.Lock()
		if d.calls[name] == call {
			delete(d.calls, name)
		}
		d.mu.Unlock()
		close(call.done)
	}()
	select {
	case d.asking <- struct{}{}:
		defer func() { <-d.asking }()
	case <-ctx.Done():
		call.err = ctx.Err()
		return
	}
	call.path, call.ttl, call.err = d.read(ctx, name)
	keep := call.ttl
	switch {
	case errors.Is(call.err, ErrNotFound):
		keep = noLinkTTL
	case call.err != nil:
		return // a failure says nothing of the domain
	}
	if keep <= 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Any one makes room: which doesn't matter with so many.
	for other := range d.cache {
		if len(d.cache) < maxLinks {
			break
		}
		delete(d.cache, other)
	}
	d.cache[name] = cachedLink{call.path, time.Now().Add(keep)}
}

// read asks for the links of a domain.
func (d *DNSLink) read(ctx context.Context, name string) (string, time.Duration, error) {
	for _, at := range []string{linkLabel + name, name} {
		if len(at) > maxDomain {
			continue
		}
		texts, ttl, err := d.texts(ctx, name, at)
		if err != nil {
			return "", 0, err
		}
		link, err := linkAmong(texts)
		if err != nil {
			return "", 0, err
		}
		if link != "" {
			return link, min(ttl, maxTTL), nil
		}
	}
	return "", 0, ErrNotFound
}

// linkAmong finds the link to /ipfs/ or /ipns/ among TXT records, empty if
// there is none. What else is there is for others. More than one is an error,
// since it is nobody's to choose.
func linkAmong(texts []string) (string, error) {
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
			return "", fmt.Errorf("%w: it has more than one: %s and %s", ErrInvalid, link, p)
		}
		link = p.String()
	}
	return link, nil
}
