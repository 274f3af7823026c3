package rpc

import (
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/libp2p/go-libp2p/core/peer"
)

// TestRelayedAddresses has addresses in which a relay's id comes first.
func TestRelayedAddresses(t *testing.T) {
	const relay, id = "12D3KooWCX9pervrW2pEkysTPKVvu2eRjY51UnxqHDWGgqtTj2W1", "12D3KooWAfBVdmphtMFPVq3GEpcg3QMiRbrwD9mpd6D6fc4CswRw"
	const circuit = "/ip4/192.0.2.1/tcp/4001/p2p/" + relay + "/p2p-circuit"
	for _, s := range []string{id, "/p2p/" + id, "/p2p/" + id + "/", "/ip4/192.0.2.1/tcp/4001/p2p/" + id, circuit + "/p2p/" + id} {
		if got, err := peerOf(s); err != nil || got.String() != id {
			t.Errorf("%s: got %s, %v, want %s", s, got, err, id)
		}
	}
	for _, s := range []string{"", "/", "/p2p/", circuit, "/ip4/192.0.2.1/tcp/4001"} {
		if got, err := peerOf(s); err == nil {
			t.Errorf("%q: got %s, want an error", s, got)
		}
	}
	n := newNode(t, cairn.Config{Routing: cairn.RoutingNone})
	if err := n.AddExternal(t.Context(), circuit); err != nil {
		t.Fatal(err)
	}
	me, err := n.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, n, Config{})
	for query, want := range map[string]string{"": circuit, "id": circuit + "/p2p/" + peer.ID(me).String()} {
		if got := d.ask(t, "swarm/addrs/local", query, "true").body; !strings.Contains(got, `"`+want+`"`) {
			t.Errorf("swarm/addrs/local?%s: got %s, want %s", query, got, want)
		}
	}
}
