package kubo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/cairn-ipfs/cairn/store"
	"github.com/libp2p/go-libp2p/core/peer"
)

// TestSwarm has two nodes with a network, on loopback.
func TestSwarm(t *testing.T) {
	listen := cairn.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Local: true}
	d, far := newDaemon(t, newNode(t, listen)), newDaemon(t, newNode(t, listen))
	me, err := far.node.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := far.node.Addrs(t.Context())
	if err != nil || len(addrs) == 0 {
		t.Fatalf("got %v, %v", addrs, err)
	}
	addr := addrs[0].String()
	equalJSON(t, "swarm/connect", d.ask(t, "swarm/connect", "arg", addr).body, `{"Strings":["connect `+me.String()+` success"]}`)
	var peers struct{ Peers []swarmPeer }
	if err := json.Unmarshal([]byte(d.ask(t, "swarm/peers", "verbose", "true", "identify", "true").body), &peers); err != nil {
		t.Fatal(err)
	}
	if len(peers.Peers) != 1 || peers.Peers[0].Peer != me.String() || peers.Peers[0].Direction != 2 || peers.Peers[0].Identify.ID == "" {
		t.Errorf("swarm/peers: got %+v", peers)
	}
	if got := d.ask(t, "swarm/addrs").body; !strings.Contains(got, me.String()) {
		t.Errorf("swarm/addrs: got %s", got)
	}
	equalJSON(t, "swarm/addrs/local", far.ask(t, "swarm/addrs/local", "id", "true").body, `{"Strings":["`+addr+`"]}`)
	bare, _, _ := strings.Cut(addr, "/p2p/")
	equalJSON(t, "swarm/addrs/listen", far.ask(t, "swarm/addrs/listen").body, `{"Strings":["`+bare+`"]}`)
	if got := d.ask(t, "id", "arg", me.String()).body; !strings.Contains(got, `"ID":"`+me.String()) {
		t.Errorf("id of a peer: got %s", got)
	}
	lines := strings.Split(strings.TrimSpace(d.ask(t, "ping", "arg", me.String(), "count", "2", "interval", "1ms").body), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], "PING "+me.String()) || !strings.Contains(lines[1], `"Success":true,"Time":`) || !strings.Contains(lines[3], "Average latency: ") {
		t.Errorf("ping: got %q", lines)
	}
	// Kubo's verbs fetch what isn't here; ours don't.
	data := noise(3<<20, 9)
	file := far.add(t, data, cairn.AddOptions{})
	if a := d.post(t, "cairn/cat", `args={"cid":"`+file.CID.String()+`"}`, "", nil); !strings.Contains(a.body, "not-found") {
		t.Errorf("our cat: got status %d: %s", a.status, a.body)
	}
	if got := d.ask(t, "cat", "arg", file.CID.String()).body; got != string(data) {
		t.Errorf("cat: got %d bytes, want %d", len(got), len(data))
	}
	more := far.add(t, noise(2<<20, 10), cairn.AddOptions{})
	d.ask(t, "pin/add", "arg", more.CID.String())
	if _, err := d.node.Store().GetAlias(t.Context(), cairn.PinName(more.CID)); err != nil {
		t.Error(err)
	}
	for k, err := range d.node.Store().Missing(t.Context(), more.CID, store.Selection{}) {
		t.Fatalf("pinned, but not here: %s, %v", k, err)
	}
	equalJSON(t, "swarm/disconnect", d.ask(t, "swarm/disconnect", "arg", addr).body, `{"Strings":["disconnect `+me.String()+` success"]}`)
}

// TestRelayedAddresses reads addresses in which a relay's id comes first.
func TestRelayedAddresses(t *testing.T) {
	const relay, id = "12D3KooWCX9pervrW2pEkysTPKVvu2eRjY51UnxqHDWGgqtTj2W1", "12D3KooWAfBVdmphtMFPVq3GEpcg3QMiRbrwD9mpd6D6fc4CswRw"
	const circuit = "/ip4/192.0.2.1/tcp/4001/p2p/" + relay + "/p2p-circuit"
	for _, s := range []string{id, "/p2p/" + id, "/p2p/" + id + "/", "/ip4/192.0.2.1/tcp/4001/p2p/" + id, circuit + "/p2p/" + id} {
		if got, err := parsePeer(s); err != nil || got.String() != id {
			t.Errorf("%s: got %s, %v, want %s", s, got, err, id)
		}
	}
	for _, s := range []string{"", "/", "/p2p/", circuit, "/ip4/192.0.2.1/tcp/4001"} {
		if got, err := parsePeer(s); err == nil {
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
	d := newDaemon(t, n)
	for query, want := range map[string]string{"": circuit, "id": circuit + "/p2p/" + peer.ID(me).String()} {
		if got := d.ask(t, "swarm/addrs/local", query, "true").body; !strings.Contains(got, `"`+want+`"`) {
			t.Errorf("swarm/addrs/local?%s: got %s, want %s", query, got, want)
		}
	}
}

// TestOffline uses what needs a network, or arguments that are invalid.
func TestOffline(t *testing.T) {
	d := newDaemon(t, nil)
	const absent = "bafybeicg2rebjoofv4kbyovkw7af3rpiitvnl6i7ckcywaq6xjcxnc2mby"
	for verb, query := range map[string]string{
		"swarm/connect": "arg=nonsense", "swarm/peers": "", "ping": "arg=nonsense", "swarm/disconnect": "arg=nonsense",
		"swarm/addrs": "", "swarm/addrs/local": "", "id": "arg=nonsense", "cat": "arg=" + absent + "&timeout=1ms",
	} {
		if a := d.post(t, verb, query, "", nil); a.status < 400 || !strings.Contains(a.body, `"Type":"error"`) {
			t.Errorf("%s?%s: got status %d: %s", verb, query, a.status, a.body)
		}
	}
}
