package names

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// A zone is a DNS server with a table of records, as in a zone file. A name
// without records doesn't exist.
type zone struct {
	mu    sync.Mutex // guards the following fields
	rr    map[string][]string
	asked map[string]int
	code  int // if not 0, the response code of every answer
}

func (z *zone) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	answer := z.answer(m)
	if _, udp := w.LocalAddr().(*net.UDPAddr); udp {
		answer.Truncate(udpSize)
	}
	// The client notices if it fails.
	_ = w.WriteMsg(answer)
}

func (z *zone) answer(m *dns.Msg) *dns.Msg {
	z.mu.Lock()
	defer z.mu.Unlock()
	answer := new(dns.Msg).SetReply(m)
	name := strings.ToLower(m.Question[0].Name)
	if z.asked == nil {
		z.asked = make(map[string]int)
	}
	z.asked[name]++
	if z.code != 0 {
		answer.Rcode = z.code
		return answer
	}
	lines, ok := z.rr[name]
	if !ok {
		answer.Rcode = dns.RcodeNameError
	}
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(err)
		}
		answer.Answer = append(answer.Answer, rr)
	}
	return answer
}

func (z *zone) count(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[name]
}

// serve answers over UDP and TCP on a port of this machine.
func (z *zone) serve(t testing.TB) string {
	t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	for udp == nil {
		var err error
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		udp, err = net.ListenPacket("udp", tcp.Addr().String())
		if errors.Is(err, syscall.EADDRINUSE) {
			tcp.Close() // another process has that port for UDP
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, server := range []*dns.Server{{Listener: tcp, Handler: z}, {PacketConn: udp, Handler: z}} {
		started, ended := make(chan struct{}), make(chan error, 1)
		server.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			if err := errors.Join(server.Shutdown(), <-ended); err != nil {
				t.Error(err)
			}
		})
	}
	return tcp.Addr().String()
}

func (z *zone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	m := new(dns.Msg)
	if err == nil {
		err = m.Unpack(body)
	}
	if err != nil || r.Header.Get("Content-Type") != dohType {
		http.Error(w, "no question", http.StatusBadRequest)
		return
	}
	packed, err := z.answer(m).Pack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", dohType)
	// The client notices if it fails.
	_, _ = w.Write(packed)
}

func newDNSLink(t testing.TB, c DNSConfig) *DNSLink {
	t.Helper()
	if c.Servers == nil {
		c.Servers = []string{} // never those of the system
	}
	d, err := NewDNSLink(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func testZone() *zone {
	long := strings.Repeat("x", 200)
	z := &zone{rr: map[string][]string{
		"_dnslink.a.example.":     {`_dnslink.a.example. 300 IN TXT "dnslink=` + pathA + `"`, `_dnslink.a.example. 300 IN TXT "v=spf1"`},
		"a.example.":              {`a.example. 300 IN TXT "dnslink=` + pathB + `"`},
		"bare.example.":           {`bare.example. 60 IN TXT "dnslink=/ipns/a.example/x"`},
		"_dnslink.cut.example.":   {`_dnslink.cut.example. 60 IN TXT "dnslink=/ipfs/baf" "kqaaa/a b\"c"`},
		"_dnslink.alias.example.": {`_dnslink.alias.example. 60 IN CNAME Target.example.`, `target.example. 30 IN TXT "dnslink=` + pathA + `"`},
		"_dnslink.ring.example.":  {`_dnslink.ring.example. 60 IN CNAME ring.example.`, `ring.example. 60 IN CNAME _dnslink.ring.example.`},
		"_dnslink.two.example.":   {`_dnslink.two.example. 60 IN TXT "dnslink=` + pathA + `"`, `_dnslink.two.example. 60 IN TXT "dnslink=` + pathB + `"`},
		"_dnslink.same.example.":  {`_dnslink.same.example. 60 IN TXT "dnslink=` + pathA + `"`, `_dnslink.same.example. 60 IN TXT "dnslink=` + pathA + `"`},
		"_dnslink.bad.example.": {
			`_dnslink.bad.example. 60 IN TXT "dnslink=x"`, `_dnslink.bad.example. 60 IN TXT "dnslink=/ipfs/x"`,
			`_dnslink.bad.example. 60 IN TXT "` + pathA + `"`, `_dnslink.bad.example. 60 IN TXT "dnslink=/hyper/x"`,
			`_dnslink.bad.example. 60 IN TXT "dnslink=` + pathA + `/\001"`,
			`other.example. 60 IN TXT "dnslink=` + pathA + `"`,
		},
		"_dnslink.empty.example.": {},
		"_dnslink.loop.example.":  {`_dnslink.loop.example. 60 IN TXT "dnslink=/ipns/pool.example"`},
		"_dnslink.pool.example.":  {`_dnslink.pool.example. 60 IN TXT "dnslink=/ipns/loop.example"`},
		"_dnslink.huge.example.":  {`_dnslink.huge.example. 60 IN TXT "dnslink=` + pathA + strings.Repeat(`/`+long+`" "`, 10) + `"`},
		"_dnslink.long.example.":  {`_dnslink.long.example. 60 IN TXT "dnslink=` + pathA + `"`},
		"_dnslink.nottl.example.": {`_dnslink.nottl.example. 0 IN TXT "dnslink=` + pathA + `"`},
	}}
	for i := range 40 {
		line := fmt.Sprintf(`_dnslink.long.example. 60 IN TXT "%s %d"`, long, i)
		z.rr["_dnslink.long.example."] = append(z.rr["_dnslink.long.example."], line)
	}
	return z
}

func TestDNSLink(t *testing.T) {
	over := map[string]func(t *testing.T, z *zone) DNSConfig{
		"DNS": func(t *testing.T, z *zone) DNSConfig { return DNSConfig{Servers: []string{z.serve(t)}} },
		"second server": func(t *testing.T, z *zone) DNSConfig {
			bad := &zone{code: dns.RcodeServerFailure}
			return DNSConfig{Servers: []string{bad.serve(t), z.serve(t)}}
		},
		"DoH": func(t *testing.T, z *zone) DNSConfig {
			server := httptest.NewTLSServer(z)
			t.Cleanup(server.Close)
			return DNSConfig{DoH: map[string]string{".": server.URL + "/dns-query"}, Client: server.Client()}
		},
	}
	for name, config := range over {
		t.Run(name, func(t *testing.T) {
			z := testZone()
			d := newDNSLink(t, config(t, z))
			for _, tt := range []struct {
				domain, path string
				ttl          time.Duration
			}{
				{"a.example", pathA, 300 * time.Second},
				{"A.Example.", pathA, 300 * time.Second},
				{"_dnslink.a.example", pathA, 300 * time.Second},
				{"bare.example", "/ipns/a.example/x", 60 * time.Second},
				{"cut.example", pathB + `/a b"c`, 60 * time.Second},
				{"alias.example", pathA, 30 * time.Second},
				{"same.example", pathA, 60 * time.Second},
				{"long.example", pathA, 60 * time.Second},
				{"nottl.example", pathA, 0},
			} {
				link, err := d.Lookup(t.Context(), tt.domain)
				if err != nil || link.Path != tt.path || link.TTL > tt.ttl || link.TTL < tt.ttl-10*time.Second {
					t.Errorf("%s: got %+v, %v, want %s for %v", tt.domain, link, err, tt.path, tt.ttl)
				}
			}
			for domain, want := range map[string]error{
				"nobody.example": ErrNotFound, "bad.example": ErrNotFound, "empty.example": ErrNotFound, "huge.example": ErrNotFound,
				"two.example": ErrInvalid, "ring.example": ErrInvalid,
				"": ErrInvalid, "nodots": ErrInvalid, "a..example": ErrInvalid, "ä.example": ErrInvalid, "a b.example": ErrInvalid,
				strings.Repeat("x", 64) + ".example": ErrInvalid, strings.Repeat("x.", 127) + "example": ErrInvalid,
			} {
				if link, err := d.Lookup(t.Context(), domain); !errors.Is(err, want) {
					t.Errorf("%.40q: got %+v, %v, want %v", domain, link, err, want)
				}
			}
			// The cache has the links found, and the absence of links.
			for domain, want := range map[string]int{
				"_dnslink.a.example.": 1, "a.example.": 0, "bare.example.": 1, "nobody.example.": 1, "_dnslink.nottl.example.": 1,
			} {
				if _, err := d.Lookup(t.Context(), strings.TrimSuffix(strings.TrimPrefix(domain, linkLabel), ".")); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				if domain == "_dnslink.nottl.example." {
					want = 2
				}
				if got := z.count(domain); got != want {
					t.Errorf("%s was asked for %d times, want %d", domain, got, want)
				}
			}
			n := newNames(t, Config{DNSLink: d})
			if _, err := n.Resolve(t.Context(), "/ipns/loop.example/x"); !errors.Is(err, ErrTooDeep) || !strings.Contains(err.Error(), "itself") {
				t.Errorf("a loop: got %v, want ErrTooDeep that names it", err)
			}
			if r, err := n.Resolve(t.Context(), "/ipns/bare.example/y"); err != nil || r.Path != pathA+"/x/y" || len(r.Steps) != 2 {
				t.Errorf("Resolve: got %+v, %v", r, err)
			}
		})
	}
}

// TestServerFailure: a failure isn't cached, and after a failure at _dnslink the
// domain itself isn't queried.
func TestServerFailure(t *testing.T) {
	z := testZone()
	z.code = dns.RcodeServerFailure
	d := newDNSLink(t, DNSConfig{Servers: []string{z.serve(t)}})
	if _, err := d.Lookup(t.Context(), "a.example"); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("got %v, want SERVFAIL", err)
	}
	if got := z.count("a.example."); got != 0 {
		t.Errorf("the domain itself was asked for %d times, want 0", got)
	}
	z.mu.Lock()
	z.code = 0
	z.mu.Unlock()
	if link, err := d.Lookup(t.Context(), "a.example"); err != nil || link.Path != pathA {
		t.Errorf("afterwards: got %+v, %v", link, err)
	}
}

func TestDoHSuffixes(t *testing.T) {
	server := func(path string) string {
		z := &zone{rr: map[string][]string{}}
		for _, name := range []string{"x.eth", "eth.example", "y.x.eth", "beth.example"} {
			at := linkLabel + name + "."
			z.rr[at] = []string{at + ` 60 IN TXT "dnslink=` + pathB + path + `"`}
		}
		s := httptest.NewServer(z)
		t.Cleanup(s.Close)
		return s.URL
	}
	d := newDNSLink(t, DNSConfig{
		DoH:    map[string]string{".": server("/all"), "eth.": server("/eth"), "x.eth": server("/x")},
		Static: map[string]string{"Static.eth": pathA, "box": pathA},
	})
	for domain, want := range map[string]string{
		"eth.example": pathB + "/all", "beth.example": pathB + "/all", "x.eth": pathB + "/x", "y.x.eth": pathB + "/x",
		"static.eth": pathA, "box": pathA,
	} {
		if link, err := d.Lookup(t.Context(), domain); err != nil || link.Path != want {
			t.Errorf("%s: got %+v, %v, want %s", domain, link, err, want)
		}
	}
	for name, c := range map[string]DNSConfig{
		"http": {DoH: map[string]string{".": "http://192.0.2.1/dns-query"}}, "no URL": {DoH: map[string]string{".": "x"}},
		"suffix": {DoH: map[string]string{"a..b": "https://127.0.0.1/"}}, "static domain": {Static: map[string]string{"a b": pathA}},
		"static path": {Static: map[string]string{"a.example": "x"}},
	} {
		if _, err := NewDNSLink(c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}

// TestHostileDoH queries servers with invalid answers.
func TestHostileDoH(t *testing.T) {
	question := new(dns.Msg).SetQuestion("_dnslink.other.example.", dns.TypeTXT)
	question.Id = 0
	other, err := (&zone{rr: map[string][]string{"_dnslink.other.example.": {`_dnslink.other.example. 60 IN TXT "dnslink=` + pathA + `"`}}}).answer(question).Pack()
	if err != nil {
		t.Fatal(err)
	}
	write := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", dohType)
			_, _ = w.Write(body)
		}
	}
	for name, handler := range map[string]http.HandlerFunc{
		"noise":            write([]byte("noise")),
		"nothing":          write(nil),
		"another's answer": write(other),
		"too long":         write(make([]byte, maxMessage+1)),
		"status":           func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) },
		"type":             func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) },
		"redirect":         func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"the question back": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", dohType)
			_, _ = io.Copy(w, r.Body)
		},
	} {
		server := httptest.NewServer(handler)
		d := newDNSLink(t, DNSConfig{DoH: map[string]string{".": server.URL}})
		link, err := d.Lookup(t.Context(), "a.example")
		if err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %+v, %v, want an error that isn't ErrNotFound", name, link, err)
		}
		if d.cache.Len() != 0 {
			t.Errorf("%s: the cache has %d entries, want none", name, d.cache.Len())
		}
		server.Close()
	}
}

// TestSilentServers queries servers that never answer: over UDP, TCP and HTTP.
func TestSilentServers(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for name, c := range map[string]DNSConfig{
		"UDP":  {Servers: []string{udp.LocalAddr().String(), udp.LocalAddr().String()}},
		"HTTP": {DoH: map[string]string{".": "http://" + tcp.Addr().String()}},
	} {
		c.Timeout = 100 * time.Millisecond
		if _, err := newDNSLink(t, c).Lookup(t.Context(), "a.example"); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, want an error that isn't ErrNotFound", name, err)
		}
		// The end of the only caller's context ends the call.
		c.Timeout = time.Hour
		d := newDNSLink(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := d.Lookup(ctx, "a.example"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want the context's error", name, err)
		}
		cancel()
		if len(d.calls) != 0 || len(d.querying) != 0 {
			t.Errorf("%s: %d calls in progress, want none", name, len(d.calls))
		}
	}
	if _, err := newDNSLink(t, DNSConfig{}).Lookup(t.Context(), "a.example"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("no servers: got %v, want an error that isn't ErrNotFound", err)
	}
}

// A roundTripper is an HTTP transport.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestDNSLinkShared: concurrent lookups of a domain share one query, and the
// cache ends with the TTL.
func TestDNSLinkShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := testZone()
		d := newDNSLink(t, DNSConfig{
			DoH: map[string]string{".": "http://127.0.0.1/"},
			Client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				time.Sleep(time.Second)
				w := httptest.NewRecorder()
				z.ServeHTTP(w, r)
				return w.Result(), nil
			})},
		})
		var all sync.WaitGroup
		// The first caller doesn't wait for the answer.
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		all.Go(func() {
			if _, err := d.Lookup(short, "a.example"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first caller: got %v, want the context's error", err)
			}
		})
		synctest.Wait()
		for range 100 {
			all.Go(func() {
				if link, err := d.Lookup(t.Context(), "a.example"); err != nil || link.Path != pathA {
					t.Errorf("got %+v, %v", link, err)
				}
			})
		}
		all.Wait()
		if got := z.count("_dnslink.a.example."); got != 1 {
			t.Errorf("%d questions, want 1", got)
		}
		for _, tt := range []struct {
			wait  time.Duration
			count int
		}{{299 * time.Second, 1}, {2 * time.Second, 2}} {
			time.Sleep(tt.wait)
			if _, err := d.Lookup(t.Context(), "a.example"); err != nil {
				t.Error(err)
			}
			if got := z.count("_dnslink.a.example."); got != tt.count {
				t.Errorf("after %v: %d questions, want %d", tt.wait, got, tt.count)
			}
		}
	})
}

func FuzzDNSAnswer(f *testing.F) {
	z := testZone()
	question := new(dns.Msg)
	for name := range z.rr {
		question.SetQuestion(name, dns.TypeTXT)
		question.Id = 0
		packed, err := z.answer(question).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	question.SetQuestion("_dnslink.a.example.", dns.TypeTXT)
	question.Id = 0
	f.Fuzz(func(t *testing.T, data []byte) {
		answer := new(dns.Msg)
		if answer.Unpack(data) != nil {
			return
		}
		texts, ttl, err := readAnswer(question, answer)
		if err != nil {
			return
		}
		if ttl < 0 || ttl > maxTTL {
			t.Errorf("a TTL of %v", ttl)
		}
		if link, err := chooseLink(texts); err == nil && len(link) > 2*maxLinkPath {
			t.Errorf("a link of %d bytes", len(link))
		}
	})
}

func FuzzDomain(f *testing.F) {
	for _, s := range []string{"", "example.com", "EXAMPLE.com.", "_dnslink.x.y", `a\.b`, "a..b", "xn--4ca.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		domain, err := normalizeDomain(s)
		if err != nil {
			return
		}
		if again, err := normalizeDomain(domain); err != nil || again != domain || len(domain) > maxDomain {
			t.Errorf("%q became %q, and that %q, %v", s, domain, again, err)
		}
		if _, err := new(dns.Msg).SetQuestion(dns.Fqdn(domain), dns.TypeTXT).Pack(); err != nil {
			t.Errorf("%q doesn't fit into a query: %v", domain, err)
		}
	})
}
