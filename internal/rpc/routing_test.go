package rpc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/boxo/files"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// inDHT returns two daemons that entered a DHT by the same node, and know
// nothing of each other.
func inDHT(t *testing.T) (theirs, ours *daemon) {
	t.Helper()
	config := cairn.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Local: true, Routing: cairn.RoutingServer}
	hub := newNode(t, config)
	addrs, err := hub.Addrs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config.Routing, config.Bootstrap, config.Providing = cairn.RoutingAuto, []string{addrs[0].String()}, cairn.ProvideNone
	return newDaemon(t, newNode(t, config), Config{}), newDaemon(t, newNode(t, config), Config{})
}

func events(t *testing.T, body string) (all []routingEvent) {
	t.Helper()
	for line := range strings.Lines(body) {
		var e routingEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

func TestRouting(t *testing.T) {
	ctx := t.Context()
	theirs, ours := inDHT(t)
	me, err := theirs.unix.Identity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept := theirs.added(t, noise(100, 1), cairn.AddOptions{})
	if got := theirs.ask(t, "routing/provide", "arg", kept.CID.String(), "recursive", "true"); got.status != http.StatusOK {
		t.Fatalf("routing/provide: got %+v", got)
	}
	b, err := block.New(block.Raw, []byte("nowhere"))
	if err != nil {
		t.Fatal(err)
	}
	nowhere := b.CID()
	if got := theirs.post(t, "routing/provide", "arg="+nowhere.String(), "", nil); got.status == http.StatusOK || !strings.Contains(got.body, "not found locally") {
		t.Errorf("routing/provide of what isn't here: got %d %s", got.status, got.body)
	}
	for _, verbose := range []string{"false", "true"} {
		found := 0
		for _, e := range events(t, ours.ask(t, "routing/findprovs", "arg", kept.CID.String(), "num-providers", "1", "verbose", verbose).body) {
			switch e.Type {
			case eventProvider:
				found++
				if len(e.Responses) != 1 || e.Responses[0].ID != me.ID.String() || len(e.Responses[0].Addrs) == 0 {
					t.Errorf("routing/findprovs: got %+v", e)
				}
			case eventPeerResponse, eventQueryError:
				if verbose == "false" {
					t.Errorf("routing/findprovs: got %+v, and didn't ask for it", e)
				}
			default:
				t.Errorf("routing/findprovs: got %+v", e)
			}
		}
		if found != 1 {
			t.Errorf("routing/findprovs: got %d providers, want 1", found)
		}
	}
	if got := ours.ask(t, "routing/findprovs", "arg", nowhere.String()).body; got != "" {
		t.Errorf("routing/findprovs of what nobody has: got %s", got)
	}
	if got := events(t, ours.ask(t, "routing/findpeer", "arg", me.ID.String()).body); len(got) != 1 || got[0].Type != eventFinalPeer || got[0].Responses[0].ID != me.ID.String() {
		t.Errorf("routing/findpeer: got %+v", got)
	}
	if got := events(t, ours.ask(t, "routing/query", "arg", me.ID.String()).body); len(got) == 0 || got[0].Type != eventFinalPeer || got[0].ID == "" {
		t.Errorf("routing/query: got %+v", got)
	}

	_, public, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	record, err := crypto.MarshalPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	key := "/pk/" + id.String()
	kind, form := kuboBody(t, map[string]files.Node{"value": files.NewBytesFile(record)})
	if got := theirs.post(t, "routing/put", "arg="+key, kind, form); got.status != http.StatusOK || !strings.Contains(got.body, me.ID.String()) {
		t.Errorf("routing/put: got %d %s", got.status, got.body)
	}
	if got := events(t, ours.ask(t, "routing/get", "arg", key).body); len(got) != 1 || got[0].Type != eventValue || got[0].Extra != base64.StdEncoding.EncodeToString(record) {
		t.Errorf("routing/get: got %+v", got)
	}
	kind, form = kuboBody(t, map[string]files.Node{"value": files.NewBytesFile(bytes.Repeat([]byte("x"), maxRecord+1))})
	if got := theirs.post(t, "routing/put", "arg="+key, kind, form); got.status == http.StatusOK {
		t.Errorf("routing/put of too much: got %s", got.body)
	}

	var stats struct {
		FullRT bool
		Sweep  struct {
			Timing struct {
				Interval time.Duration `json:"reprovides_interval"`
			}
		}
	}
	if err := json.Unmarshal([]byte(ours.ask(t, "stats/provide").body), &stats); err != nil || stats.FullRT || stats.Sweep.Timing.Interval != 22*time.Hour {
		t.Errorf("stats/provide: got %+v, %v", stats, err)
	}
	equalJSON(t, "bootstrap/list", ours.ask(t, "bootstrap/list").body, `{"Peers":["`+ours.node.Bootstrap()[0]+`"]}`)
	if got := ours.post(t, "bootstrap/add", "arg=x", "", nil); got.status != http.StatusForbidden {
		t.Errorf("bootstrap/add: got %d, want it to be refused", got.status)
	}
	for _, bad := range []string{"routing/findprovs?arg=x", "routing/findprovs?arg=" + kept.CID.String() + "&num-providers=0", "routing/findpeer?arg=x",
		"routing/query?arg=x", "routing/get?arg=x", "cairn/find/providers?arg=x", "cairn/find/peer?arg=x", "cairn/provide?arg=x"} {
		verb, query, _ := strings.Cut(bad, "?")
		if got := ours.post(t, verb, query, "", nil); got.status == http.StatusOK {
			t.Errorf("%s: got %s", bad, got.body)
		}
	}
}

// What a client finds through a daemon is what the node finds.
func TestFindByDaemon(t *testing.T) {
	ctx := t.Context()
	theirs, ours := inDHT(t)
	me, err := theirs.unix.Identity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept := theirs.added(t, noise(100, 1), cairn.AddOptions{})
	if err := theirs.tcp.Provide(ctx, kept.CID); err != nil {
		t.Fatal(err)
	}
	ours.both(t, func(t *testing.T, c *Client) {
		questions := 0
		found := false
		for p, err := range c.FindProviders(ctx, kept.CID, func(e cairn.TraceEvent) {
			if questions++; e.Hop < 1 || e.Peer == "" || e.Source == "" || e.Took <= 0 {
				t.Errorf("a question: got %+v", e)
			}
		}) {
			if err != nil {
				t.Fatal(err)
			}
			found = found || p.ID == me.ID && len(p.Addrs) > 0 && p.Source != ""
		}
		if !found || questions == 0 {
			t.Errorf("providers: got %v after %d questions, want %s", found, questions, me.ID)
		}
		for p, err := range c.FindPeer(ctx, me.ID, nil) {
			if err != nil || p.ID != me.ID || len(p.Addrs) == 0 {
				t.Errorf("a peer: got %+v, %v", p, err)
			}
			break
		}
		s, err := c.RoutingStatus(ctx)
		if err != nil || s.Mode != cairn.RoutingAuto || s.Peers == 0 {
			t.Errorf("status: got %+v, %v", s, err)
		}
		p, err := c.ProvideStats(ctx)
		if err != nil || p.Strategy != cairn.ProvideNone || p.Interval != 22*time.Hour {
			t.Errorf("stats: got %+v, %v", p, err)
		}
	})
	if err := theirs.tcp.Unprovide(ctx, kept.CID); err != nil {
		t.Error(err)
	}
	// The reasons come through.
	alone := newDaemon(t, newNode(t, cairn.Config{Local: true}), Config{})
	none := newDaemon(t, newNode(t, cairn.Config{Local: true, Routing: cairn.RoutingNone}), Config{})
	for _, c := range []struct {
		c    *Client
		want error
	}{{alone.unix, cairn.ErrNoPeers}, {none.unix, cairn.ErrNoRouting}} {
		for _, err := range c.c.FindProviders(ctx, kept.CID, nil) {
			if !errors.Is(err, c.want) {
				t.Errorf("find: got %v, want %v", err, c.want)
			}
		}
		if err := c.c.Provide(ctx, kept.CID); !errors.Is(err, c.want) {
			t.Errorf("provide: got %v, want %v", err, c.want)
		}
	}
}

// A line that a daemon made up is an error, and no panic.
func FuzzFindShape(f *testing.F) {
	f.Add([]byte(`{"type":"provider","peerId":"12D3KooWCUjjiWhzyN3CvLVdpBAeHBZtJ9GQBt8miN3TWAapiGRx","addresses":["/ip4/127.0.0.1/tcp/1"]}`))
	f.Add([]byte(`{"type":"question","peerId":"12D3KooWCUjjiWhzyN3CvLVdpBAeHBZtJ9GQBt8miN3TWAapiGRx","distance":"00","closer":["x"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s FindShape
		if json.Unmarshal(data, &s) != nil {
			return
		}
		if p, err := s.info(); err == nil && p.ID == "" {
			t.Errorf("%s: found nobody", data)
		}
		if e, err := s.question(); err == nil && s.PeerID != "" && e.Peer == "" {
			t.Errorf("%s: asked nobody", data)
		}
	})
}
