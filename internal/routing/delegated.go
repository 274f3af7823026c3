package routing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multibase"
)

const (
	mediaLines  = "application/x-ndjson"
	mediaObject = "application/json"
	mediaIPNS   = "application/vnd.ipfs.ipns-record"

	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 64 << 10

	// maxErrorText bounds the part of an error response that our error quotes, in
	// bytes.
	maxErrorText = 200
)

// A delegated is a client of one delegated router (HTTP, /routing/v1).
type delegated struct {
	base   *url.URL
	http   *http.Client
	config *Config
	scope  scope
}

// httpClient returns a client that follows at most maxRedirects redirects, and
// none from https to http.
func httpClient(own *http.Client) *http.Client {
	c := &http.Client{}
	if own != nil {
		*c = *own
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxResponseHeaderBytes = maxHeader
		c.Transport = t
	}
	before := c.CheckRedirect
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > maxRedirects:
			return fmt.Errorf("more than %d redirects", maxRedirects)
		case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
			return errors.New("redirect from https to " + r.URL.Scheme)
		case before != nil:
			return before(r, via)
		}
		return nil
	}
	return c
}

func (d *delegated) name() string { return d.base.Host }

// newRequest makes a request for a path below /routing/v1.
func (d *delegated) newRequest(ctx context.Context, method, accept string, filtered bool, body []byte, path ...string) (*http.Request, error) {
	u := d.base.JoinPath(append([]string{"routing", "v1"}, path...)...)
	if filtered {
		var filters []string
		if f := d.config.FilterAddrs; len(f) > 0 {
			filters = append(filters, "filter-addrs="+escapeList(f))
		}
		if f := d.config.FilterProtocols; len(f) > 0 {
			filters = append(filters, "filter-protocols="+escapeList(f))
		}
		u.RawQuery = strings.Join(filters, "&")
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "cairn")
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	return req, nil
}

// escapeList escapes a list, but not its commas: HTTP caches expect them as they
// are.
func escapeList(list []string) string {
	escaped := make([]string, len(list))
	for i, s := range list {
		escaped[i] = url.QueryEscape(s)
	}
	return strings.Join(escaped, ",")
}

// responseError returns the error that a response with an error status reports.
func responseError(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
	return fmt.Errorf("%s %q", resp.Status, text)
}

// findRecords asks for records, emits them, and traces the request.
func (d *delegated) findRecords(ctx context.Context, filtered bool, emit func(Provider) bool, path ...string) error {
	ctx, cancel := context.WithTimeout(ctx, d.config.Limits.Delegated)
	defer cancel()
	began := time.Now()
	var got []peer.AddrInfo
	trace := traceFrom(ctx)
	err := d.requestRecords(ctx, filtered, func(p Provider) bool {
		if trace != nil && len(got) < maxTraced {
			got = append(got, p.AddrInfo)
		}
		p.Source = d.name()
		return emit(p)
	}, path...)
	if trace != nil {
		trace(TraceEvent{Source: d.name(), Providers: got, Took: time.Since(began), Err: err})
	}
	return err
}

func (d *delegated) requestRecords(ctx context.Context, filtered bool, emit func(Provider) bool, path ...string) error {
	req, err := d.newRequest(ctx, http.MethodGet, mediaLines+", "+mediaObject+";q=0.5", filtered, nil, path...)
	if err != nil {
		return err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound: // older routers, when they have nothing
		return nil
	default:
		return responseError(resp)
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	for p, err := range readRecords(media, resp.Body, d.scope) {
		if err != nil {
			return err
		}
		if filtered && !matchesProtocols(p, d.config.FilterProtocols) {
			continue
		}
		if !emit(p) {
			return nil
		}
	}
	return nil
}

func (d *delegated) findProviders(ctx context.Context, c cid.Cid, emit func(Provider) bool) error {
	return d.findRecords(ctx, true, emit, "providers", c.String())
}

func (d *delegated) findPeer(ctx context.Context, id peer.ID, emit func(Provider) bool) error {
	return d.findRecords(ctx, false, func(p Provider) bool { return p.ID != id || emit(p) }, "peers", peer.ToCid(id).String())
}

func (d *delegated) closestPeers(ctx context.Context, c cid.Cid, emit func(Provider) bool) error {
	return d.findRecords(ctx, false, emit, "dht", "closest", "peers", c.String())
}

// ipnsName returns the name of an IPNS record, as in paths of /routing/v1.
func ipnsName(id peer.ID) (string, error) {
	return peer.ToCid(id).StringOfBase(multibase.Base36)
}

// getRecord asks for the IPNS record of a name, and does not validate it. It
// returns nil and no error if the router has none.
func (d *delegated) getRecord(ctx context.Context, id peer.ID) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, d.config.Limits.Delegated)
	defer cancel()
	name, err := ipnsName(id)
	if err != nil {
		return nil, err
	}
	req, err := d.newRequest(ctx, http.MethodGet, mediaIPNS, false, nil, "ipns", name)
	if err != nil {
		return nil, err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusOK && media != mediaIPNS:
		return nil, nil // it has none (IPIP-513)
	case resp.StatusCode != http.StatusOK:
		return nil, responseError(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(ipns.MaxRecordSize)+1))
	if err == nil && len(b) > ipns.MaxRecordSize {
		err = fmt.Errorf("record larger than %d bytes", ipns.MaxRecordSize)
	}
	return b, err
}

// putRecord publishes an IPNS record.
func (d *delegated) putRecord(ctx context.Context, id peer.ID, record []byte) error {
	ctx, cancel := context.WithTimeout(ctx, d.config.Limits.Delegated)
	defer cancel()
	name, err := ipnsName(id)
	if err != nil {
		return err
	}
	req, err := d.newRequest(ctx, http.MethodPut, "", false, record, "ipns", name)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mediaIPNS)
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return responseError(resp)
	}
	return nil
}
