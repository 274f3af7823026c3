package names

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipns"
	ipns_pb "github.com/ipfs/boxo/ipns/pb"
	"github.com/ipfs/boxo/path"
	"github.com/libp2p/go-libp2p/core/crypto"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Values of records.
const (
	pathA = "/ipfs/bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
	pathB = "/ipfs/bafkqaaa"
)

func mustRecord(t testing.TB, key crypto.PrivKey, f Fields) *Record {
	t.Helper()
	if f.Value == "" {
		f.Value = pathA
	}
	if f.Validity.IsZero() {
		f.Validity = time.Now().Add(time.Hour)
	}
	r, err := NewRecord(key, f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecord(t *testing.T) {
	metadata := map[string]any{"_text": "x", "_bytes": []byte{1, 2}, "_number": int64(-7), "_flag": true}
	for kind, key := range makeKeysOfAllTypes(t) {
		end := time.Now().Add(time.Hour).Round(0)
		r := mustRecord(t, key, Fields{Value: pathA + "/a/b", Sequence: 7, Validity: end, TTL: time.Minute, Metadata: metadata})
		value, err := r.Value()
		if err != nil || value != pathA+"/a/b" || r.Sequence() != 7 || !r.Validity().Equal(end) || r.TTL() != time.Minute || r.Name() != nameOf(t, key) {
			t.Errorf("%s: got %s, %d, %v, %v, %s, %v", kind, value, r.Sequence(), r.Validity(), r.TTL(), r.Name(), err)
		}
		got := maps.Collect(r.Metadata())
		if len(got) != 4 || got["_text"] != "x" || !bytes.Equal(got["_bytes"].([]byte), []byte{1, 2}) || got["_number"] != int64(-7) || got["_flag"] != true {
			t.Errorf("%s: Metadata: got %v, want %v", kind, got, metadata)
		}
		if r.Valid(end) != nil || !errors.Is(r.Valid(end.Add(1)), ErrExpired) {
			t.Errorf("%s: Valid: got %v at the end and %v after it", kind, r.Valid(end), r.Valid(end.Add(1)))
		}

		// Boxo parses it with the same results, under the same routing key.
		name := r.Name()
		if err := (ipns.Validator{}).Validate(name.RoutingKey(), r.Bytes()); err != nil {
			t.Errorf("%s: boxo: %v", kind, err)
		}
		theirs, err := ipns.UnmarshalRecord(r.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if v, err := theirs.Metadata("_number"); err != nil {
			t.Errorf("%s: boxo: metadata: %v", kind, err)
		} else if n, err := v.AsInt(); err != nil || n != -7 {
			t.Errorf("%s: boxo: metadata: got %d, %v", kind, n, err)
		}
		if got, want := name.String(), ipns.NameFromPeer(name.Peer()).String(); got != want {
			t.Errorf("%s: name: got %s, want %s", kind, got, want)
		}
	}
}

// TestBoxoRecords parses records that boxo made, with and without the V1
// signature and the public key.
func TestBoxoRecords(t *testing.T) {
	p, err := path.NewPath(pathA)
	if err != nil {
		t.Fatal(err)
	}
	for kind, key := range makeKeysOfAllTypes(t) {
		for _, options := range [][]ipns.Option{
			nil, {ipns.WithV1Compatibility(false)}, {ipns.WithPublicKey(true)},
		} {
			theirs, err := ipns.NewRecord(key, p, 3, time.Now().Add(time.Hour), time.Minute, options...)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := ipns.MarshalRecord(theirs)
			if err != nil {
				t.Fatal(err)
			}
			r, err := ParseRecord(nameOf(t, key), raw)
			if err != nil {
				t.Errorf("%s: %v", kind, err)
				continue
			}
			if value, err := r.Value(); err != nil || value != pathA || r.Sequence() != 3 || !bytes.Equal(r.Bytes(), raw) {
				t.Errorf("%s: got %s, %d, %v", kind, value, r.Sequence(), err)
			}
		}
	}
}

func TestNewRecordRefuses(t *testing.T) {
	key, _ := newKey(t)
	end := time.Now().Add(time.Hour)
	for name, f := range map[string]Fields{
		"no path":         {Value: "hello", Validity: end},
		"no CID":          {Value: "/ipfs/hello", Validity: end},
		"sequence":        {Value: pathA, Validity: end, Sequence: MaxSequence + 1},
		"TTL":             {Value: pathA, Validity: end, TTL: -1},
		"metadata's key":  {Value: pathA, Validity: end, Metadata: map[string]any{"Value": "x"}},
		"metadata's size": {Value: pathA, Validity: end, Metadata: map[string]any{"_x": make([]byte, MaxRecord)}},
	} {
		if _, err := NewRecord(key, f); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}

// resign changes a record's protobuf by f, and signs it again unless key is nil.
func resign(t *testing.T, key crypto.PrivKey, r *Record, f func(*ipns_pb.IpnsRecord)) []byte {
	t.Helper()
	var pb ipns_pb.IpnsRecord
	if err := proto.Unmarshal(r.Bytes(), &pb); err != nil {
		t.Fatal(err)
	}
	f(&pb)
	if key != nil {
		var err error
		if pb.SignatureV2, err = key.Sign(append([]byte("ipns-signature:"), pb.GetData()...)); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := proto.Marshal(&pb)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestHostileRecords(t *testing.T) {
	key, name := newKey(t)
	mallory, mallorysName := newKey(t)
	r := mustRecord(t, key, Fields{Sequence: 5})
	higher := mustRecord(t, key, Fields{Sequence: 6})
	theirs := mustRecord(t, mallory, Fields{Sequence: 9})
	malloryKey, err := crypto.MarshalPublicKey(mallory.GetPublic())
	if err != nil {
		t.Fatal(err)
	}
	for what, raw := range map[string][]byte{
		"nothing":                 nil,
		"noise":                   []byte("noise"),
		"oversized":               append(protowire.AppendTag(bytes.Clone(r.Bytes()), 100, protowire.BytesType), protowire.AppendBytes(nil, make([]byte, MaxRecord))...),
		"another's":               theirs.Bytes(),
		"another's, with its key": resign(t, nil, theirs, func(pb *ipns_pb.IpnsRecord) { pb.PubKey = malloryKey }),
		"forged sequence":         resign(t, nil, r, func(pb *ipns_pb.IpnsRecord) { pb.Sequence = proto.Uint64(9) }),
		"forged value":            resign(t, nil, r, func(pb *ipns_pb.IpnsRecord) { pb.Value = []byte(pathB) }),
		"another's data":          resign(t, nil, r, func(pb *ipns_pb.IpnsRecord) { pb.Data = higher.signed }),
		"no signature":            resign(t, nil, r, func(pb *ipns_pb.IpnsRecord) { pb.SignatureV2 = nil }),
		"the old signature alone": resign(t, nil, r, func(pb *ipns_pb.IpnsRecord) { pb.SignatureV2, pb.Data = nil, nil }),
		"no CBOR":                 resign(t, key, r, func(pb *ipns_pb.IpnsRecord) { pb.Data = []byte("x") }),
		"no map":                  resign(t, key, r, func(pb *ipns_pb.IpnsRecord) { pb.Data = []byte{0x80} }),
		"an empty map":            resign(t, key, r, func(pb *ipns_pb.IpnsRecord) { pb.Reset(); pb.Data = []byte{0xa0} }),
		"nested deep": resign(t, key, r, func(pb *ipns_pb.IpnsRecord) {
			pb.Data = append([]byte{0xa1, 0x61, 'a'}, bytes.Repeat([]byte{0x81}, 9000)...)
		}),
		"a negative sequence": resign(t, key, r, func(pb *ipns_pb.IpnsRecord) {
			// The field Sequence with -1 in place of 5.
			pb.Data = bytes.Replace(pb.Data, []byte("Sequence\x05"), []byte("Sequence\x20"), 1)
			pb.Sequence = proto.Uint64(math.MaxUint64)
		}),
	} {
		if got, err := ParseRecord(name, raw); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, %v, want ErrInvalid", what, got, err)
		}
	}
	if _, err := ParseRecord(Name{}, r.Bytes()); !errors.Is(err, ErrInvalid) {
		t.Errorf("no name: got %v, want ErrInvalid", err)
	}
	if _, err := ParseRecord(mallorysName, theirs.Bytes()); err != nil {
		t.Errorf("under the right name: %v", err)
	}
	// A record whose value is not a path is valid.
	custom := resign(t, key, r, func(pb *ipns_pb.IpnsRecord) {
		pb.Data = bytes.Replace(pb.Data, []byte(pathA), bytes.Repeat([]byte("x"), len(pathA)), 1)
		pb.Value, pb.SignatureV1 = nil, nil
	})
	odd, err := ParseRecord(name, custom)
	if err != nil {
		t.Fatalf("a value that is not a path: %v", err)
	}
	if _, err := odd.Value(); !errors.Is(err, ErrInvalid) {
		t.Errorf("Value: got %v, want ErrInvalid", err)
	}
}

func TestCompare(t *testing.T) {
	key, name := newKey(t)
	end := time.Now().Add(time.Hour)
	better := []*Record{
		mustRecord(t, key, Fields{Sequence: 1, Validity: end.Add(time.Hour)}),
		mustRecord(t, key, Fields{Sequence: 2, Validity: end}),
		mustRecord(t, key, Fields{Sequence: 2, Validity: end.Add(time.Second)}),
		mustRecord(t, key, Fields{Sequence: MaxSequence, Validity: end}),
	}
	for i, a := range better {
		for j, b := range better {
			if got := a.Compare(b); got > 0 != (i > j) || got == 0 != (i == j) {
				t.Errorf("record %d with %d: got %d", i, j, got)
			}
		}
	}
	// Two that differ only in the value are ordered, one way or the other.
	a := mustRecord(t, key, Fields{Value: pathA, Validity: end})
	b := mustRecord(t, key, Fields{Value: pathB, Validity: end})
	if a.Compare(b) == 0 || a.Compare(b) != -b.Compare(a) {
		t.Errorf("got %d and %d, want an order", a.Compare(b), b.Compare(a))
	}
	// An unsigned field makes no record better.
	padded, err := ParseRecord(name, protowire.AppendBytes(protowire.AppendTag(bytes.Clone(a.Bytes()), 100, protowire.BytesType), []byte("more")))
	if err != nil || padded.Compare(a) != 0 {
		t.Errorf("a padded record: got %v, want an equal one", err)
	}
}

func TestNames(t *testing.T) {
	for _, s := range []string{
		"", "k51", "example.com", "Qm", "/ipns/", "bafkqaaa", pathA, "../x",
		string(bytes.Repeat([]byte("k"), 1000)),
	} {
		if n, err := ParseName(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseName %.30q: got %s, %v, want ErrInvalid", s, n, err)
		}
	}
	for kind, key := range makeKeysOfAllTypes(t) {
		name := nameOf(t, key)
		back, err := parseRoutingKey(name.RoutingKey())
		if err != nil || back != name {
			t.Errorf("%s: from the routing key: got %s, %v, want %s", kind, back, err, name)
		}
		if theirs := string(ipns.NameFromPeer(name.Peer()).RoutingKey()); theirs != name.RoutingKey() {
			t.Errorf("%s: routing key: got %q, boxo has %q", kind, name.RoutingKey(), theirs)
		}
	}
	if got := (Name{}).String(); got != "" {
		t.Errorf("the zero Name: got %q", got)
	}
	// By the specifications: base 58, base 36 and base64url.
	name, err := ParseName("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := name.String(), "k51qzi5uqu5dhnwe629wdlncpql6frppdpwnz4wtlcw816aysd5wwlk63g4wmh"; got != want {
		t.Errorf("String: got %s, want %s", got, want)
	}
	if got, want := name.Topic(), "/record/L2lwbnMvACQIARIgO2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"; got != want {
		t.Errorf("Topic: got %s, want %s", got, want)
	}
}

// TestInspect parses records without verifying them.
func TestInspect(t *testing.T) {
	key, _ := newKey(t)
	good := mustRecord(t, key, Fields{Value: pathB, Sequence: 3, TTL: time.Minute, Metadata: map[string]any{"_x": "y"}})
	f, err := Inspect(good.Bytes())
	if err != nil || f.Value != pathB || f.Sequence != 3 || f.TTL != time.Minute || !f.Validity.Equal(good.Validity()) || f.Metadata["_x"] != "y" || len(f.Metadata) != 1 {
		t.Errorf("got %+v, %v", f, err)
	}
	for what, data := range map[string][]byte{
		"nothing": nil, "noise": []byte("noise"), "cut": good.Bytes()[:50], "too long": make([]byte, MaxRecord+1),
	} {
		if f, err := Inspect(data); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %+v, %v, want ErrInvalid", what, f, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	key, name := newKey(f)
	good := mustRecord(f, key, Fields{Sequence: 3, Metadata: map[string]any{"_x": "y"}})
	f.Add(good.Bytes())
	f.Add(good.signed)
	f.Add([]byte{})
	f.Add([]byte{0x4a, 0x03, 0xa1, 0x61, 0x61})
	f.Fuzz(func(t *testing.T, raw []byte) {
		findSigned(raw)
		fields, ierr := Inspect(raw)
		r, err := ParseRecord(name, raw)
		if err != nil {
			return
		}
		if ierr != nil || fields.Sequence != r.sequence || !fields.Validity.Equal(r.validity) || fields.Value != r.value {
			t.Errorf("inspected %x: got %+v, %v", raw, fields, ierr)
		}
		// Only the good record has a signature of this key.
		if r.Compare(good) != 0 {
			t.Errorf("accepted %x", raw)
		}
	})
}

// TestCacheMemory: cached records take about the memory that is counted for them,
// also if they have many fields.
func TestCacheMemory(t *testing.T) {
	const names = 300
	fields := make(map[string]any)
	for i := range 900 {
		fields[fmt.Sprintf("_%d", i)] = i
	}
	n := newNames(t, Config{})
	raw := make(map[Name][]byte)
	for range names {
		key, name := newKey(t)
		raw[name] = mustRecord(t, key, Fields{Value: pathA, Metadata: fields}).Bytes()
	}
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := inUse()
	for name, raw := range raw {
		if _, _, err := n.accept(t.Context(), name, raw, "", true); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := inUse()-before, int64(n.cache.cost); got > 2*want {
		t.Errorf("%d names: got %d bytes in use, want about the %d counted", names, got, want)
	}
	runtime.KeepAlive(raw)
}
