package routing

import (
	"bytes"
	"fmt"
	"testing"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/proto"
)

// addLength returns a message with its length before it.
func addLength(m []byte) []byte { return append(varint.ToUvarint(uint64(len(m))), m...) }

// manyProviders returns an answer with providers, of at least size bytes.
func manyProviders(size int) *pb.Message {
	addrs := make([][]byte, 20)
	for i := range addrs {
		addrs[i] = ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1", 1+i)).Bytes()
	}
	m := pb.NewMessage(pb.Message_GET_PROVIDERS, nil, 0)
	each := proto.Size(&pb.Message_Peer{Id: binaryID(0), Addrs: addrs})
	for n := range size/each + 1 {
		m.ProviderPeers = append(m.ProviderPeers, &pb.Message_Peer{Id: binaryID(n), Addrs: addrs})
	}
	return m
}

// binaryID returns the id of a peer that does not exist.
func binaryID(n int) []byte { return append([]byte{0x12, 32}, fmt.Appendf(nil, "%032d", n)...) }

// TestPopular finds providers of a popular block: servers send as many as fit in
// a message of 4 MiB.
func TestPopular(t *testing.T) {
	servers := newServers(t, 3)
	r := newRouter(t, Config{Mode: ModeClient, Bootstrap: bootstrapInfos(servers)})
	eventually(t, "the routing table is full", func() bool { return r.tables[0].dht.RoutingTable().Size() >= len(servers) })
	many := manyProviders(maxAnswer * 3 / 4)
	for _, s := range servers {
		misbehave(s, func(*pb.Message) *pb.Message { return many })
	}
	all, err := collect(r.FindProviders(testContext(t), newCID(t)))
	if err != nil || len(all) != maxPeers {
		t.Errorf("got %d providers, %v, want the first %d", len(all), err, maxPeers)
	}
}

// TestManyPeers reads answers that would take fifty times their size in memory.
func TestManyPeers(t *testing.T) {
	closer, provider := []byte{closerField<<3 | 2, 0}, []byte{providerField<<3 | 2, 0}
	addrs := bytes.Repeat([]byte{addrField<<3 | 2, 0}, 200_000)
	peer, err := proto.Marshal(&pb.Message_Peer{Id: binaryID(0), Connection: pb.Message_CONNECTED})
	if err != nil {
		t.Fatal(err)
	}
	one := append(addrs, peer...) // the id is the last field
	one = append(append([]byte{closerField<<3 | 2}, varint.ToUvarint(uint64(len(one)))...), one...)
	// With its length, the first provider has two bytes more than are kept. Others
	// follow.
	brim, err := proto.Marshal(&pb.Message{ProviderPeers: []*pb.Message_Peer{
		{Id: make([]byte, maxKept-6)}, {Id: make([]byte, maxKept/2)}, {Id: make([]byte, maxKept)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name              string
		message           []byte
		closer, providers int
		whole             bool
	}{
		{"closer", append(bytes.Repeat(closer, 500_000), provider...), maxPeers, 1, true},
		{"providers", append(closer, bytes.Repeat(provider, 500_000)...), 1, maxPeers, false},
		{"addresses", one, 1, 0, true},
		{"to the brim", append(closer, brim...), 1, 1, false},
	} {
		m, whole, err := readMessage(bytes.NewReader(addLength(test.message)))
		if err != nil || whole != test.whole || len(m.GetCloserPeers()) != test.closer || len(m.GetProviderPeers()) != test.providers {
			t.Errorf("%s: got %d closer and %d providers, whole %v, %v; want %d, %d, %v",
				test.name, len(m.GetCloserPeers()), len(m.GetProviderPeers()), whole, err, test.closer, test.providers, test.whole)
			continue
		}
		if p := m.GetCloserPeers()[0]; len(p.GetAddrs()) > maxPeerAddrs || test.name == "addresses" && !bytes.Equal(p.GetId(), binaryID(0)) {
			t.Errorf("%s: got %d addresses of %x, want %d at most of the peer", test.name, len(p.GetAddrs()), p.GetId(), maxPeerAddrs)
		}
	}
	for name, b := range map[string][]byte{
		"nothing":         {},
		"too large":       varint.ToUvarint(maxAnswer + 1),
		"cut off":         addLength(one)[:1000],
		"a large key":     addLength(append([]byte{2<<3 | 2}, append(varint.ToUvarint(maxKept+1), make([]byte, maxKept+1)...)...)),
		"too long inside": addLength([]byte{closerField<<3 | 2, 9, 1}),
		"a group":         addLength([]byte{3<<3 | 3, 3<<3 | 4}),
		"numbers":         addLength(bytes.Repeat([]byte{100<<3&0x7f | 0x80, 6, 1}, maxKept)),
	} {
		if m, _, err := readMessage(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: got %v, want an error", name, m)
		}
	}
}

// TestMessageUnchanged: a message of usual size is read unchanged.
func TestMessageUnchanged(t *testing.T) {
	m := pb.NewMessage(pb.Message_GET_PROVIDERS, newCID(t).Hash(), 3)
	m.CloserPeers = []*pb.Message_Peer{{Id: binaryID(1), Addrs: [][]byte{{4, 1, 2, 3, 4}, {4, 1, 2, 3, 5}}, Connection: pb.Message_CAN_CONNECT}}
	m.ProviderPeers = []*pb.Message_Peer{{Id: binaryID(2)}, {Id: binaryID(3)}}
	m.Record = record.MakePutRecord("key", []byte("value"))
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got, whole, err := readMessage(bytes.NewReader(addLength(b)))
	if err != nil || !whole || !proto.Equal(got, m) {
		t.Errorf("got %v, whole %v, %v, want %v", got, whole, err, m)
	}
}
