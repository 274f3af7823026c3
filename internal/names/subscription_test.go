package names

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-ipfs/cairn/internal/swarm"
)

// A testNode is a swarm on this machine with a Names over it.
type testNode struct {
	swarm *swarm.Swarm
	names *Names
}

func newSwarm(t *testing.T) *swarm.Swarm {
	t.Helper()
	s, err := swarm.New(t.Context(), swarm.Config{Local: true, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newTestNode(t *testing.T, c Config) *testNode {
	t.Helper()
	s := newSwarm(t)
	c.Network.Host, c.Network.Topics, c.peersEvery = s.Host(), SwarmTopics(s), 20*time.Millisecond
	n, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return &testNode{s, n}
}

func connect(t *testing.T, from, to *swarm.Swarm) {
	t.Helper()
	if err := from.Connect(t.Context(), to.AddrInfo()); err != nil {
		t.Fatal(err)
	}
}

// awaitUpdate waits until the best record of a followed name is want.
func awaitUpdate(t *testing.T, n *Names, want *Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for r, err := range n.Updates(ctx, want.name) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Compare(want) == 0 {
			if !bytes.Equal(r.Bytes(), want.Bytes()) {
				t.Error("the record came with other bytes")
			}
			return
		}
	}
	t.Fatal("the updates ended")
}

// awaitPeers waits until a topic has n peers.
func awaitPeers(t *testing.T, topic Topic, n int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(topic.Peers()) < n {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the topic's peers never connected")
		}
	}
}

// publishUnsent publishes a record before any peer is connected.
func publishUnsent(t *testing.T, n *testNode, value string) *Record {
	t.Helper()
	key, _ := newKey(t)
	r, err := n.names.Publish(t.Context(), key, Publication{Value: value})
	if !errors.Is(err, ErrNotSent) {
		t.Fatalf("got %v, want ErrNotSent", err)
	}
	return r
}

// TestPubsub: followers receive a record published before they subscribed, and
// the next one.
func TestPubsub(t *testing.T) {
	alice, bob := newTestNode(t, Config{}), newTestNode(t, Config{})
	key, name := newKey(t)
	first, err := alice.names.Publish(t.Context(), key, Publication{Value: pathA})
	if !errors.Is(err, ErrNotSent) {
		t.Fatalf("got %v, want ErrNotSent", err)
	}
	connect(t, bob.swarm, alice.swarm)
	if err := bob.names.Follow(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	// The first record is older than the subscription: Bob has to fetch it.
	awaitUpdate(t, bob.names, first)
	awaitPeers(t, alice.names.subscription(name).topic, 1)
	second, err := alice.names.Publish(t.Context(), key, Publication{Value: pathB})
	if err != nil {
		t.Fatal(err)
	}
	awaitUpdate(t, bob.names, second)

	// Carol never connects to Alice, who has left.
	if err := alice.names.Close(); err != nil {
		t.Fatal(err)
	}
	carol := newTestNode(t, Config{})
	connect(t, carol.swarm, bob.swarm)
	if err := carol.names.Follow(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	awaitUpdate(t, carol.names, second)
	awaitPeers(t, carol.names.subscription(name).topic, 1)

	// Invalid messages are refused, and do no harm.
	mallory := newSwarm(t)
	connect(t, mallory, bob.swarm)
	topic, err := mallory.Topic(name.Topic(), swarm.TopicOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer topic.Close()
	third := mustRecord(t, key, Fields{Sequence: 9})
	for _, data := range [][]byte{
		[]byte("noise"), make([]byte, MaxRecord+1), first.Bytes(),
		mustRecord(t, key, Fields{Sequence: 8, Validity: time.Now().Add(-time.Hour)}).Bytes(), third.Bytes(),
	} {
		if err := topic.Publish(t.Context(), data); err != nil {
			t.Fatal(err)
		}
	}
	// Mallory may not know yet that Bob subscribed. A Put at Carol broadcasts the
	// record, too.
	if _, err := carol.names.Put(t.Context(), name, third.Bytes()); err != nil {
		t.Fatal(err)
	}
	awaitUpdate(t, bob.names, third)
	if err := bob.names.Unfollow(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if s := bob.names.subscription(name); s != nil {
		t.Error("the topic is open after Unfollow")
	}
}

// TestNotForwarded has Bob between Mallory and Dave, who accepts anything. Bob
// forwards no message that is not a valid record, that is old, or that is not
// better than his.
func TestNotForwarded(t *testing.T) {
	bob, mallory, dave := newTestNode(t, Config{}), newSwarm(t), newSwarm(t)
	key, name := newKey(t)
	if err := bob.names.Follow(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	topics := make(map[*swarm.Swarm]*swarm.Topic)
	for _, s := range []*swarm.Swarm{mallory, dave} {
		topic, err := s.Topic(name.Topic(), swarm.TopicOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer topic.Close()
		topics[s] = topic
		connect(t, s, bob.swarm)
	}
	awaitPeers(t, topics[mallory], 1)
	awaitPeers(t, bob.names.subscription(name).topic, 2)
	held := mustRecord(t, key, Fields{Sequence: 3})
	if _, err := bob.names.Put(t.Context(), name, held.Bytes()); err != nil {
		t.Fatal(err)
	}
	// Gossip reaches Dave once he is in Bob's mesh.
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	defer publishing.Wait()
	defer stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	publishing.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			for _, data := range [][]byte{
				fmt.Appendf(nil, "noise %d", n), make([]byte, MaxRecord+n),
				mustRecord(t, key, Fields{Sequence: 2}).Bytes(),
				mustRecord(t, key, Fields{Sequence: 9, Validity: time.Now().Add(-time.Hour)}).Bytes(),
				held.Bytes(), mustRecord(t, key, Fields{Sequence: 3, Validity: held.Validity().Add(-time.Minute)}).Bytes(),
				mustRecord(t, key, Fields{Sequence: 3, Validity: held.Validity().Add(time.Duration(n) * time.Second)}).Bytes(),
			} {
				if err := topics[mallory].Publish(ctx, data); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	came := 0
	for m, err := range topics[dave].Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRecord(name, m.Data)
		if err != nil || r.Valid(time.Now()) != nil || r.Sequence() < 3 {
			t.Fatalf("Bob forwarded %.40q: %v", m.Data, err)
		}
		if m.From != mallory.ID() {
			continue // published by Bob
		}
		if r.Compare(held) <= 0 {
			t.Fatalf("Bob forwarded a record of sequence %d until %v, which is not better", r.Sequence(), r.Validity())
		}
		if came++; came == 5 {
			return
		}
	}
	t.Fatal("the topic ended")
}

// TestFetch fetches records from peers, and looks names up with no other source.
func TestFetch(t *testing.T) {
	alice, bob := newTestNode(t, Config{}), newTestNode(t, Config{})
	r := publishUnsent(t, alice, pathA)
	connect(t, bob.swarm, alice.swarm)
	raw, err := fetchRecord(t.Context(), bob.swarm.Host(), alice.swarm.ID(), r.Name())
	if err != nil || !bytes.Equal(raw, r.Bytes()) {
		t.Errorf("fetchRecord: got %d bytes, %v, want the record", len(raw), err)
	}
	got, err := bob.names.LookupLatest(t.Context(), r.Name())
	wantRecord(t, "Latest", got, err, r)

	// Bob doesn't serve names that he only looked up.
	if _, err := fetchRecord(t.Context(), alice.swarm.Host(), bob.swarm.ID(), r.Name()); !errors.Is(err, ErrNotFound) {
		t.Errorf("fetchRecord of a name looked up: got %v, want ErrNotFound", err)
	}
	if err := bob.names.Follow(t.Context(), r.Name()); err != nil {
		t.Fatal(err)
	}
	if raw, err := fetchRecord(t.Context(), alice.swarm.Host(), bob.swarm.ID(), r.Name()); err != nil || !bytes.Equal(raw, r.Bytes()) {
		t.Errorf("fetchRecord of a followed name: got %d bytes, %v", len(raw), err)
	}
	_, stranger := newKey(t)
	if _, err := fetchRecord(t.Context(), bob.swarm.Host(), alice.swarm.ID(), stranger); !errors.Is(err, ErrNotFound) {
		t.Errorf("fetchRecord of another name: got %v, want ErrNotFound", err)
	}
	if _, err := fetchRecord(t.Context(), bob.swarm.Host(), newSwarm(t).ID(), stranger); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("fetchRecord from a peer that isn't connected: got %v, want another error", err)
	}
}

// sendFetch writes to a peer by the fetch protocol and reads its answer.
func sendFetch(t *testing.T, h host.Host, to peer.ID, data []byte) ([]byte, error) {
	t.Helper()
	stream, err := h.NewStream(t.Context(), to, fetchProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Reset()
	if _, err := stream.Write(data); err != nil {
		return nil, err
	}
	if err := stream.CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(stream)
}

func TestHostileFetchers(t *testing.T) {
	alice, mallory := newTestNode(t, Config{}), newSwarm(t)
	r := publishUnsent(t, alice, pathA)
	connect(t, mallory, alice.swarm)
	for what, data := range map[string][]byte{
		"nothing": nil, "too long": protowire.AppendVarint(nil, maxFetchRequest+1), "endless": bytes.Repeat([]byte{0xff}, 20),
		"cut": {10, 1}, "noise": frame([]byte("noise")),
	} {
		if got, err := sendFetch(t, mallory.Host(), alice.swarm.ID(), data); err == nil {
			t.Errorf("%s: got %x, want a reset", what, got)
		}
	}
	for what, key := range map[string]string{
		"no key": "", "no name": "/ipns/x", "another kind": "/pk/" + r.Name().hash, "the text": "/ipns/" + r.Name().String(),
	} {
		got, err := sendFetch(t, mallory.Host(), alice.swarm.ID(), frame(marshalRequest(key)))
		if err != nil || !bytes.Equal(got, frame([]byte{8, 1})) {
			t.Errorf("%s: got %x, %v, want NOT_FOUND", what, got, err)
		}
	}
	// The bytes on the wire, by the specification.
	key := r.Name().RoutingKey()
	request := append([]byte{byte(2 + len(key)), 10, byte(len(key))}, key...)
	want := append([]byte{0x12}, append(protowire.AppendVarint(nil, uint64(len(r.Bytes()))), r.Bytes()...)...)
	got, err := sendFetch(t, mallory.Host(), alice.swarm.ID(), request)
	if err != nil || !bytes.Equal(got, append(protowire.AppendVarint(nil, uint64(len(want))), want...)) {
		t.Errorf("got %x, %v, want the record", got, err)
	}
}

func TestHostileAnswers(t *testing.T) {
	key, name := newKey(t)
	other, _ := newKey(t)
	good := mustRecord(t, key, Fields{Sequence: 4})
	bob := newTestNode(t, Config{LookupTime: time.Second})
	for what, answer := range map[string]func(network.Stream){
		"reset":    func(s network.Stream) { s.Reset() },
		"nothing":  func(s network.Stream) { s.Close() },
		"silence":  func(s network.Stream) { _, _ = s.Read(make([]byte, 1)) },
		"noise":    func(s network.Stream) { _, _ = s.Write([]byte("noise")); s.Close() },
		"too long": func(s network.Stream) { _, _ = s.Write(protowire.AppendVarint(nil, 1<<40)); s.Close() },
		"status":   func(s network.Stream) { _, _ = s.Write(frame([]byte{8, 7})); s.Close() },
		"another's": func(s network.Stream) {
			_, _ = s.Write(frame(marshalResponse(mustRecord(t, other, Fields{}).Bytes())))
			s.Close()
		},
		"no record":     func(s network.Stream) { _, _ = s.Write(frame(marshalResponse([]byte("x")))); s.Close() },
		"found nothing": func(s network.Stream) { _, _ = s.Write(frame(marshalResponse(nil))); s.Close() },
	} {
		mallory := newSwarm(t)
		mallory.Host().SetStreamHandler(fetchProtocol, answer)
		connect(t, mallory, bob.swarm)
		patience := time.Minute
		if what == "silence" {
			patience = time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		raw, err := fetchRecord(ctx, bob.swarm.Host(), mallory.ID(), name)
		cancel()
		if given := what == "another's" || what == "no record"; (err == nil) != given {
			t.Errorf("%s: got %d bytes, %v", what, len(raw), err)
		}
		if r, err := bob.names.Lookup(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, %v, want ErrNotFound", what, r, err)
		}
		if err := mallory.Close(); err != nil {
			t.Error(err)
		}
	}
	if bob.names.cache.names[name] != nil {
		t.Error("a refused record is in the cache")
	}
	got, err := bob.names.Put(t.Context(), name, good.Bytes())
	if !errors.Is(err, ErrNotSent) {
		t.Errorf("Put: got %v, want ErrNotSent", err)
	}
	wantRecord(t, "Put", got, nil, good)
}

// A fakeTopic is a topic without peers.
type fakeTopic struct{ closed chan struct{} }

func (f fakeTopic) Publish(context.Context, []byte) error { return nil }
func (f fakeTopic) Peers() []peer.ID                      { return nil }
func (f fakeTopic) Close() error                          { close(f.closed); return nil }
func (f fakeTopic) Messages(ctx context.Context) iter.Seq2[swarm.Message, error] {
	return func(func(swarm.Message, error) bool) {
		select {
		case <-f.closed:
		case <-ctx.Done():
		}
	}
}

// TestSubscriptions: the topic of each kept name is opened once, and again after
// a restart.
func TestSubscriptions(t *testing.T) {
	opened := make(map[string]int)
	c := Config{State: &memoryState{}, Network: Network{Topics: func(name string, _ Validator) (Topic, error) {
		opened[name]++
		return fakeTopic{make(chan struct{})}, nil
	}}}
	n := newNames(t, c)
	_, followed := newKey(t)
	key, own := newKey(t)
	for range 2 {
		if err := n.Follow(t.Context(), followed); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Publish(t.Context(), key, Publication{Value: pathA}); !errors.Is(err, ErrNotSent) {
			t.Fatalf("got %v, want ErrNotSent", err)
		}
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := newNames(t, c).Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []Name{followed, own} {
		if got := opened[name.Topic()]; got != 2 {
			t.Errorf("the topic of %s was opened %d times, want 2", name, got)
		}
	}
	if len(opened) != 2 {
		t.Errorf("%d topics were opened, want 2", len(opened))
	}
}

func TestUpdatesEnd(t *testing.T) {
	n := newNames(t, Config{})
	_, name := newKey(t)
	last := func(ctx context.Context) error {
		var last error
		for _, err := range n.Updates(ctx, name) {
			last = err
		}
		return last
	}
	if err := last(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("of a name that isn't followed: got %v, want ErrNotFound", err)
	}
	if err := n.Follow(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := last(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with the context: got %v", err)
	}
	ended := make(chan error)
	go func() { ended <- last(t.Context()) }()
	if err := n.Forget(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrNotFound) {
		t.Errorf("forgotten: got %v, want ErrNotFound", err)
	}
	if err := n.Follow(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- last(t.Context()) }()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("closed: got %v, want ErrClosed", err)
	}
}

// TestUnfollowWhileOpening unfollows a name while its topic is being opened, and
// then follows it again.
func TestUnfollowWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		n, err := New(t.Context(), Config{Network: Network{Topics: func(string, Validator) (Topic, error) {
			<-gate
			return fakeTopic{make(chan struct{})}, nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		_, name := newKey(t)
		ended := make(chan error, 3)
		for i, change := range []func(context.Context, Name) error{n.Follow, n.Unfollow, n.Follow} {
			go func() { ended <- change(t.Context(), name) }()
			synctest.Wait()
			if i == 0 {
				continue
			}
			close(gate)
			for range 1 + i%2 {
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
			}
			if got, want := n.subscription(name) != nil, i == 2; got != want {
				t.Errorf("change %d: got a subscription %v, want %v", i, got, want)
			}
			gate = make(chan struct{})
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzFetch(f *testing.F) {
	_, name := newKey(f)
	f.Add(frame(marshalRequest(name.RoutingKey())))
	f.Add(frame(marshalResponse([]byte("record"))))
	f.Add(frame(marshalResponse(nil)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		message, err := readFrame(bufio.NewReader(bytes.NewReader(data)), maxFetchResponse)
		if err != nil {
			return
		}
		if key, err := unmarshalRequest(message); err == nil {
			if back, err := unmarshalRequest(marshalRequest(key)); err != nil || back != key {
				t.Errorf("the key %q became %q, %v", key, back, err)
			}
		}
		if raw, err := unmarshalResponse(message); err == nil && raw != nil {
			if back, err := unmarshalResponse(marshalResponse(raw)); err != nil || !bytes.Equal(back, raw) {
				t.Errorf("the record %x became %x, %v", raw, back, err)
			}
		}
	})
}
