package cairn_test

import (
	"encoding/json"
	"testing"

	"github.com/cairn-ipfs/cairn"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// TestProviderJSON: no embedded type decides what is written.
func TestProviderJSON(t *testing.T) {
	id, err := peer.Decode("12D3KooWNBgQHWQz2jBoJ4fTiXYsgUg9g5fs52nqUZDcfZgJAGMK")
	if err != nil {
		t.Fatal(err)
	}
	addrs := []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/192.0.2.1/tcp/4001")}
	for want, v := range map[string]any{
		`{"peerId":"` + id.String() + `","addresses":["/ip4/192.0.2.1/tcp/4001"],"source":"dht","protocols":["transport-bitswap"]}`: cairn.Provider{ID: id, Addrs: addrs, Source: "dht", Protocols: []string{"transport-bitswap"}},
		`{"peerId":"` + id.String() + `","addresses":["/ip4/192.0.2.1/tcp/4001"],"source":"connected"}`:                             cairn.PeerAddrs{ID: id, Addrs: addrs, Source: "connected"},
	} {
		if got, err := json.Marshal(v); err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}
