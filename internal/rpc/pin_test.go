package rpc

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/store"
)

// What is fetched to be pinned is there when the pin is, whatever is evicted
// meanwhile.
func TestPinnedMeanwhile(t *testing.T) {
	ctx := t.Context()
	theirs := newDaemon(t, nil, Config{})
	first := theirs.added(t, noise(1000, 1), cairn.AddOptions{}).CID
	second := theirs.added(t, noise(1000, 2), cairn.AddOptions{}).CID
	third := theirs.added(t, noise(1000, 3), cairn.AddOptions{}).CID
	var ours *daemon
	gateway := theirs.node.Gateway()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Somebody needs the space of all that nothing keeps alive.
		if _, err := ours.node.Store().Evict(r.Context(), store.EvictOptions{}); err != nil {
			t.Errorf("evict: %v", err)
		}
		gateway.ServeHTTP(w, r)
	}))
	defer web.Close()
	ours = newDaemon(t, newNode(t, cairn.Config{Routing: cairn.RoutingNone, Gateways: []string{web.URL}}), Config{})
	whole := func(what string, query ...string) {
		t.Helper()
		ours.ask(t, what, query...)
		for _, k := range query {
			if !strings.HasPrefix(k, "b") {
				continue
			}
			if a := ours.post(t, "block/stat", "offline=true&arg="+k, "", nil); a.status != http.StatusOK {
				t.Errorf("%s: %s is pinned, and not here: %s", what, k, a.body)
			}
		}
	}
	whole("pin/add", "arg", first.String(), "arg", second.String())
	whole("pin/update", "arg", first.String(), "arg", third.String(), "unpin", "false")
	// Nothing else is kept for having been asked for.
	ours.ask(t, "pin/rm", "arg", first.String(), "arg", second.String(), "arg", third.String())
	if done, err := ours.node.Store().Evict(ctx, store.EvictOptions{}); err != nil || done.Blocks != 3 {
		t.Errorf("evict what was pinned: got %+v, %v, want three blocks gone", done, err)
	}
}
