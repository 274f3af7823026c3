package kubo

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
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

// inDHT returns two daemons that joined a DHT by the same bootstrap peer, and
// don't know each other.
func inDHT(t *testing.T) (theirs, ours *daemon) {
	t.Helper()
	config := cairn.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Local: true, Routing: cairn.RoutingServer}
	hub := newNode(t, config)
	addrs, err := hub.Addrs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config.Routing, config.Bootstrap, config.Providing = cairn.RoutingAuto, []string{addrs[0].String()}, cairn.ProvideNone
	return newDaemon(t, newNode(t, config)), newDaemon(t, newNode(t, config))
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
	me, err := theirs.node.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept := theirs.add(t, noise(100, 1), cairn.AddOptions{})
	if got := theirs.ask(t, "routing/provide", "arg", kept.CID.String(), "recursive", "true"); got.status != http.StatusOK {
		t.Fatalf("routing/provide: got %+v", got)
	}
	b, err := block.New(block.Raw, []byte("absent"))
	if err != nil {
		t.Fatal(err)
	}
	absent := b.CID()
	if got := theirs.post(t, "routing/provide", "arg="+absent.String(), "", nil); got.status == http.StatusOK || !strings.Contains(got.body, "not found locally") {
		t.Errorf("routing/provide of a block that isn't here: got %d %s", got.status, got.body)
	}
	for _, verbose := range []string{"false", "true"} {
		found := 0
		for _, e := range events(t, ours.ask(t, "routing/findprovs", "arg", kept.CID.String(), "num-providers", "1", "verbose", verbose).body) {
			switch e.Type {
			case eventProvider:
				found++
				if len(e.Responses) != 1 || e.Responses[0].ID != me.String() || len(e.Responses[0].Addrs) == 0 {
					t.Errorf("routing/findprovs: got %+v", e)
				}
			case eventPeerResponse, eventQueryError:
				if verbose == "false" {
					t.Errorf("routing/findprovs: got %+v without verbose", e)
				}
			default:
				t.Errorf("routing/findprovs: got %+v", e)
			}
		}
		if found != 1 {
			t.Errorf("routing/findprovs: got %d providers, want 1", found)
		}
	}
	if got := ours.ask(t, "routing/findprovs", "arg", absent.String()).body; got != "" {
		t.Errorf("routing/findprovs without a provider: got %s", got)
	}
	if got := events(t, ours.ask(t, "routing/findpeer", "arg", me.String()).body); len(got) != 1 || got[0].Type != eventFinalPeer || got[0].Responses[0].ID != me.String() {
		t.Errorf("routing/findpeer: got %+v", got)
	}
	if got := events(t, ours.ask(t, "routing/query", "arg", me.String()).body); len(got) == 0 || got[0].Type != eventFinalPeer || got[0].ID == "" {
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
	kind, form := formOf(t, map[string]files.Node{"value": files.NewBytesFile(record)})
	if got := theirs.post(t, "routing/put", "arg="+key, kind, form); got.status != http.StatusOK || !strings.Contains(got.body, me.String()) {
		t.Errorf("routing/put: got %d %s", got.status, got.body)
	}
	if got := events(t, ours.ask(t, "routing/get", "arg", key).body); len(got) != 1 || got[0].Type != eventValue || got[0].Extra != base64.StdEncoding.EncodeToString(record) {
		t.Errorf("routing/get: got %+v", got)
	}
	kind, form = formOf(t, map[string]files.Node{"value": files.NewBytesFile(bytes.Repeat([]byte("x"), maxRecord+1))})
	if got := theirs.post(t, "routing/put", "arg="+key, kind, form); got.status == http.StatusOK {
		t.Errorf("routing/put of an oversized record: got %s", got.body)
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
		t.Errorf("bootstrap/add: got %d, want 403", got.status)
	}
	for _, bad := range []string{"routing/findprovs?arg=x", "routing/findprovs?arg=" + kept.CID.String() + "&num-providers=0", "routing/findpeer?arg=x",
		"routing/query?arg=x", "routing/get?arg=x"} {
		verb, query, _ := strings.Cut(bad, "?")
		if got := ours.post(t, verb, query, "", nil); got.status == http.StatusOK {
			t.Errorf("%s: got %s", bad, got.body)
		}
	}
}
