package block_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/cairn-ipfs/cairn/internal/access"
)

func prefix(version, codec, hash uint64, length int) cid.Prefix {
	return cid.Prefix{Version: version, Codec: codec, MhType: hash, MhLength: length}
}

func TestNew(t *testing.T) {
	b, err := block.New(block.Raw, []byte("hello"))
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	if got, want := b.CID().String(), "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"; got != want {
		t.Errorf("CID: got %s, want %s", got, want)
	}
	if string(b.Data()) != "hello" || b.Size() != 5 {
		t.Errorf("got %q of %d bytes, want \"hello\"", b.Data(), b.Size())
	}
	// The CRC-32C of "hello", as other tools compute it.
	if got, want := b.Checksum(), uint32(0x9a71bb4c); got != want {
		t.Errorf("Checksum: got %08x, want %08x", got, want)
	}
}

func TestNewWithPrefix(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    cid.Prefix
		size int
		want error
	}{
		{"empty", prefix(1, block.Raw, block.SHA2_256, -1), 0, nil},
		{"largest", prefix(1, block.Raw, block.SHA2_256, -1), block.MaxSize, nil},
		{"over the limit", prefix(1, block.Raw, block.SHA2_256, -1), block.MaxSize + 1, block.ErrTooLarge},
		{"largest identity", prefix(1, block.Raw, block.Identity, -1), block.MaxIdentity, nil},
		{"identity over the limit", prefix(1, block.Raw, block.Identity, -1), block.MaxIdentity + 1, block.ErrTooLarge},
		{"identity of another length", prefix(1, block.Raw, block.Identity, 4), 5, block.ErrMalformed},
		{"version 0", prefix(0, block.DagPB, block.SHA2_256, 32), 5, nil},
		{"version 0, raw", prefix(0, block.Raw, block.SHA2_256, -1), 5, block.ErrMalformed},
		{"version 0, sha2-512", prefix(0, block.DagPB, 0x13, -1), 5, block.ErrMalformed},
		{"version 0, cut", prefix(0, block.DagPB, block.SHA2_256, 20), 5, block.ErrMalformed},
		{"version 2", prefix(2, block.Raw, block.SHA2_256, -1), 5, block.ErrMalformed},
		{"cut to 20 bytes", prefix(1, block.Raw, block.SHA2_256, 20), 5, nil},
		{"cut to 19 bytes", prefix(1, block.Raw, block.SHA2_256, 19), 5, block.ErrHashRefused},
		{"longer than the hash", prefix(1, block.Raw, block.SHA2_256, 33), 5, block.ErrHashRefused},
		{"md5", prefix(1, block.Raw, 0xd5, -1), 5, block.ErrHashRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := block.NewWithPrefix(tt.p, make([]byte, tt.size))
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				return
			}
			if _, err := block.Verify(b.CID(), b.Data()); err != nil {
				t.Errorf("Verify what New made: %v", err)
			}
			if got := b.CID().Prefix(); got.Version != tt.p.Version || got.Codec != tt.p.Codec || got.MhType != tt.p.MhType {
				t.Errorf("got a CID of %+v, want %+v", got, tt.p)
			}
		})
	}
}

func TestVerifyLimits(t *testing.T) {
	big := make([]byte, block.MaxSize+1)
	sum := sha256.Sum256(big)
	c := cid.NewCidV1(block.Raw, append([]byte{0x12, 0x20}, sum[:]...))
	if _, err := block.Verify(c, big); !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("a byte over MaxSize, rightly hashed: got %v, want ErrTooLarge", err)
	}
	if _, err := block.Verify(cid.Undef, nil); !errors.Is(err, block.ErrMalformed) {
		t.Errorf("undefined CID: got %v, want ErrMalformed", err)
	}
}

func TestReopen(t *testing.T) {
	b, err := block.New(block.Raw, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := block.Internal(access.Key{}).Reopen(b.CID(), []byte("hello"), b.Checksum())
	if err != nil || again.CID() != b.CID() || string(again.Data()) != "hello" {
		t.Errorf("Reopen: got %s, %q, %v", again.CID(), again.Data(), err)
	}
	for _, damaged := range []string{"hellp", "hell", "hello ", ""} {
		if _, err := block.Internal(access.Key{}).Reopen(b.CID(), []byte(damaged), b.Checksum()); !errors.Is(err, block.ErrDamaged) {
			t.Errorf("Reopen %q: got %v, want ErrDamaged", damaged, err)
		}
	}
}

func TestOtherNames(t *testing.T) {
	b, err := block.NewWithPrefix(prefix(0, block.DagPB, block.SHA2_256, -1), []byte("\x0a\x00"))
	if err != nil {
		t.Fatal(err)
	}
	raw := b.WithCodec(block.Raw)
	if p := raw.CID().Prefix(); p.Version != 1 || p.Codec != block.Raw || !bytes.Equal(raw.CID().Hash(), b.CID().Hash()) {
		t.Errorf("WithCodec: got %s, want a CIDv1 raw of the same hash", raw.CID())
	}
	if _, err := block.Verify(raw.CID(), raw.Data()); err != nil {
		t.Errorf("Verify what WithCodec made: %v", err)
	}
	back, err := raw.WithCID(b.CID())
	if err != nil || back.CID() != b.CID() {
		t.Errorf("WithCID: got %s, %v, want %s", back.CID(), err, b.CID())
	}
	other, err := block.New(block.Raw, []byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.WithCID(other.CID()); !errors.Is(err, block.ErrHashMismatch) {
		t.Errorf("WithCID of other bytes: got %v, want ErrHashMismatch", err)
	}
}

func TestInlined(t *testing.T) {
	for _, data := range []string{"", "x", strings.Repeat("x", block.MaxIdentity)} {
		b, err := block.NewWithPrefix(prefix(1, block.DagCBOR, block.Identity, -1), []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		got, ok := block.Inlined(b.CID())
		if !ok || got.CID() != b.CID() || string(got.Data()) != data {
			t.Errorf("Inlined %d bytes: got %q, %v", len(data), got.Data(), ok)
		}
	}
	over := cid.NewCidV1(block.Raw, append([]byte{0, 0x81, 0x01}, make([]byte, 129)...))
	for name, c := range map[string]cid.Cid{
		"undefined":               cid.Undef,
		"over the limit":          over,
		"sha2-256":                mustParse(t, "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"),
		"version 0":               mustParse(t, "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"),
		"sha1":                    cid.NewCidV1(block.GitRaw, append([]byte{0x11, 20}, make([]byte, 20)...)),
		"codec of several bytes":  cid.NewCidV1(block.DagJSON, append([]byte{0x12, 32}, make([]byte, 32)...)),
		"codec of the first byte": cid.NewCidV1(0, append([]byte{0x12, 32}, make([]byte, 32)...)),
	} {
		if b, ok := block.Inlined(c); ok {
			t.Errorf("Inlined %s: got %q, want none", name, b.Data())
		}
	}
}

func mustParse(t testing.TB, s string) cid.Cid {
	t.Helper()
	c, err := block.ParseCID(s)
	if err != nil {
		t.Fatalf("ParseCID %s: %v", s, err)
	}
	return c
}

func BenchmarkVerify(b *testing.B) {
	bl, err := block.New(block.Raw, make([]byte, 256<<10))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(bl.Size()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := block.Verify(bl.CID(), bl.Data()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSHA256 is the yardstick of BenchmarkVerify: the same bytes hashed.
func BenchmarkSHA256(b *testing.B) {
	data := make([]byte, 256<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		sha256.Sum256(data)
	}
}
