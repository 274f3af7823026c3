package block_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multicodec"

	"github.com/cairn-ipfs/cairn/block"
)

// Digests of "abc", from the functions' specifications and from other
// implementations of them.
var digests = []struct {
	code   multicodec.Code
	digest string
}{
	{multicodec.Identity, "616263"},
	{multicodec.Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"},
	{multicodec.Sha2_256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{multicodec.Sha2_512, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
	{multicodec.DblSha2_256, "4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358"},
	{multicodec.Sha3_224, "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf"},
	{multicodec.Sha3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"},
	{multicodec.Sha3_384, "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25"},
	{multicodec.Sha3_512, "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0"},
	{multicodec.Shake256, "483366601360a8771c6863080cc4114d8db44530f8f1e1ee4f94ea37e78b5739d5a15bef186a5386c75744c0527e1faa9f8726e462a12a4feb06bd8801e751e4"},
	{multicodec.Keccak256, "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"},
	{multicodec.Keccak512, "18587dc2ea106b9a1563e32b3312421ca164c7f1f07bc922a9c83d77cea3a1e5d0c69910739025372dc14ac9642629379540c17e2a65b19d77aa511a9d00bb96"},
	{multicodec.Blake2b160, "384264f676f39536840523f284921cdc68b6846b"},
	{multicodec.Blake2b256, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"},
	{multicodec.Blake2b512, "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"},
	{multicodec.Blake2s256, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"},
	{multicodec.Blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"},
}

func newCID(codec uint64, hash multicodec.Code, digest []byte) cid.Cid {
	mh := uvarint(uvarint(nil, uint64(hash)), uint64(len(digest)))
	return cid.NewCidV1(codec, append(mh, digest...))
}

func uvarint(dst []byte, n uint64) []byte {
	for ; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

func TestVerify(t *testing.T) {
	for _, tt := range digests {
		t.Run(tt.code.String(), func(t *testing.T) {
			digest, err := hex.DecodeString(tt.digest)
			if err != nil {
				t.Fatal(err)
			}
			c := newCID(block.Raw, tt.code, digest)
			b, err := block.Verify(c, []byte("abc"))
			if err != nil || b.CID() != c || string(b.Data()) != "abc" {
				t.Errorf("got %s, %q, %v", b.CID(), b.Data(), err)
			}
			made, err := block.NewWithPrefix(c.Prefix(), []byte("abc"))
			if err != nil || made.CID() != c {
				t.Errorf("NewWithPrefix: got %s, %v, want %s", made.CID(), err, c)
			}
			for _, tampered := range []string{"abd", "ab", "abcd", "", "Abc"} {
				if _, err := block.Verify(c, []byte(tampered)); !errors.Is(err, block.ErrHashMismatch) {
					t.Errorf("%q: got %v, want ErrHashMismatch", tampered, err)
				}
			}
			if tt.code == multicodec.Identity {
				return
			}
			for i := range digest {
				wrong := bytes.Clone(digest)
				wrong[i] ^= 1
				if _, err := block.Verify(newCID(block.Raw, tt.code, wrong), []byte("abc")); !errors.Is(err, block.ErrHashMismatch) {
					t.Errorf("digest changed at byte %d: got %v, want ErrHashMismatch", i, err)
				}
			}
			// Truncated digests are accepted down to 20 bytes.
			cut := newCID(block.Raw, tt.code, digest[:20])
			if _, err := block.Verify(cut, []byte("abc")); err != nil {
				t.Errorf("truncated to 20 bytes: %v", err)
			}
			if _, err := block.Verify(cut, []byte("abd")); !errors.Is(err, block.ErrHashMismatch) {
				t.Errorf("truncated to 20 bytes, tampered: got %v, want ErrHashMismatch", err)
			}
			if _, err := block.Verify(newCID(block.Raw, tt.code, digest[:19]), []byte("abc")); !errors.Is(err, block.ErrHashRefused) {
				t.Errorf("truncated to 19 bytes: got %v, want ErrHashRefused", err)
			}
		})
	}
	// Blake3 has digests of any length.
	long, err := block.NewWithPrefix(prefix(1, block.Raw, uint64(multicodec.Blake3), block.MaxDigest), []byte("abc"))
	if err != nil || !strings.HasPrefix(hex.EncodeToString(long.CID().Hash()), "1e8001"+digests[len(digests)-1].digest) {
		t.Errorf("blake3 of %d bytes: got %x, %v", block.MaxDigest, []byte(long.CID().Hash()), err)
	}
}

func TestCheckCIDRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    cid.Cid
		want error
		says string // the reason in the message
	}{
		{"undefined", cid.Undef, block.ErrMalformed, "undefined"},
		{"md5", newCID(block.Raw, multicodec.Md5, make([]byte, 16)), block.ErrHashRefused, "md5: collisions"},
		{"md4", newCID(block.Raw, multicodec.Md4, make([]byte, 16)), block.ErrHashRefused, "md4: collisions"},
		{"murmur3", newCID(block.Raw, multicodec.Murmur3X64_64, make([]byte, 8)), block.ErrHashRefused, "not a cryptographic hash"},
		{"crc32", newCID(block.Raw, multicodec.Crc32, make([]byte, 4)), block.ErrHashRefused, "not a cryptographic hash"},
		{"ripemd-160", newCID(block.Raw, multicodec.Ripemd160, make([]byte, 20)), block.ErrHashRefused, "not implemented"},
		{"keccak-224", newCID(block.Raw, multicodec.Keccak224, make([]byte, 28)), block.ErrHashRefused, "not implemented"},
		{"blake2s-160", newCID(block.Raw, multicodec.Blake2s160, make([]byte, 20)), block.ErrHashRefused, "not implemented"},
		{"blake2b-152", newCID(block.Raw, multicodec.Blake2b152, make([]byte, 19)), block.ErrHashRefused, "not used to name blocks"},
		{"blake2s-248", newCID(block.Raw, multicodec.Blake2s248, make([]byte, 31)), block.ErrHashRefused, "not used to name blocks"},
		{"no hash function", newCID(block.Raw, 0x55, make([]byte, 32)), block.ErrHashRefused, "0x55"},
		{"number without name", newCID(block.Raw, 0x7fffffff, make([]byte, 32)), block.ErrHashRefused, "0x7fffffff"},
		{"sha2-256 without digest", newCID(block.Raw, multicodec.Sha2_256, nil), block.ErrHashRefused, "truncated to 0 bytes"},
		{"sha2-256 of 33 bytes", newCID(block.Raw, multicodec.Sha2_256, make([]byte, 33)), block.ErrHashRefused, "maximum is 32"},
		{"sha1 of 32 bytes", newCID(block.Raw, multicodec.Sha1, make([]byte, 32)), block.ErrHashRefused, "maximum is 20"},
		{"blake3 of 129 bytes", newCID(block.Raw, multicodec.Blake3, make([]byte, 129)), block.ErrHashRefused, "maximum is 128"},
		{"identity of 129 bytes", newCID(block.Raw, multicodec.Identity, make([]byte, 129)), block.ErrTooLarge, "129 bytes"},
		{"digest missing", cid.NewCidV1(block.Raw, []byte{0x12, 0x20}), block.ErrMalformed, ""},
		{"digest too short", cid.NewCidV1(block.Raw, append([]byte{0x12, 0x20}, make([]byte, 31)...)), block.ErrMalformed, ""},
		{"no multihash", cid.NewCidV1(block.Raw, nil), block.ErrMalformed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := block.CheckCID(tt.c)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.says)
			}
			if _, err := block.Verify(tt.c, nil); !errors.Is(err, tt.want) {
				t.Errorf("Verify: got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestParseCID(t *testing.T) {
	const v0 = "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"
	c := mustParse(t, "bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
	if !block.Equal(mustParse(t, v0), c) {
		t.Errorf("%s and %s aren't equal", v0, c)
	}
	for _, base := range []multibase.Encoding{
		multibase.Base2, multibase.Base16, multibase.Base16Upper, multibase.Base32, multibase.Base32Upper,
		multibase.Base36, multibase.Base58BTC, multibase.Base64, multibase.Base64url,
	} {
		s, err := c.StringOfBase(base)
		if err != nil {
			t.Fatal(err)
		}
		if got := mustParse(t, s); got != c {
			t.Errorf("%s: got %s, want %s", s, got, c)
		}
	}
	longest := newCID(1<<62, multicodec.Blake3, make([]byte, block.MaxDigest))
	s, err := longest.StringOfBase(multibase.Base2)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustParse(t, s); got != longest {
		t.Errorf("the longest CID: got %s, want %s", got, longest)
	}
	for _, tt := range []struct {
		s    string
		want error
	}{
		{"", block.ErrMalformed},
		{"b", block.ErrMalformed},
		{"Qm", block.ErrMalformed},
		{v0[:45], block.ErrMalformed},
		{v0 + "1", block.ErrMalformed},
		{v0[:45] + "0", block.ErrMalformed}, // not a character of base58
		{"/ipfs/" + v0, block.ErrMalformed},
		{c.String() + "/", block.ErrMalformed},
		{c.String()[:58], block.ErrMalformed},
		{strings.ToUpper(c.String()), nil},
		{" " + c.String(), block.ErrMalformed},
		{"b" + strings.Repeat("a", 10_000), block.ErrMalformed},
		{"bafkqaaa", nil},
		{"bafk2bzaceaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", nil},                   // blake2b-256
		{"f0155d50110" + strings.Repeat("00", 16), block.ErrHashRefused},                          // md5
		{"f0155008101" + strings.Repeat("00", 129), block.ErrTooLarge},                            // identity
		{"f0255" + "1220" + strings.Repeat("00", 32), block.ErrMalformed},                         // version 2
		{"f0155" + "1220" + strings.Repeat("00", 33), block.ErrMalformed},                         // a byte after the digest
		{"f8100" + "55" + "1220" + strings.Repeat("00", 32), block.ErrMalformed},                  // version not minimal
		{"f01" + "d500" + "1220" + strings.Repeat("00", 32), block.ErrMalformed},                  // codec not minimal
		{"f01" + strings.Repeat("ff", 9) + "1220" + strings.Repeat("00", 32), block.ErrMalformed}, // codec over 63 bits
	} {
		if c, err := block.ParseCID(tt.s); !errors.Is(err, tt.want) {
			t.Errorf("ParseCID %.80q: got %s, %v, want %v", tt.s, c, err, tt.want)
		}
	}
}

func TestReadCID(t *testing.T) {
	var cids []cid.Cid
	for _, tt := range digests {
		digest, err := hex.DecodeString(tt.digest)
		if err != nil {
			t.Fatal(err)
		}
		cids = append(cids, newCID(block.Raw, tt.code, digest), newCID(1<<62, tt.code, digest))
	}
	cids = append(cids,
		mustParse(t, "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"),
		newCID(1<<62, multicodec.Blake3, make([]byte, block.MaxDigest)))
	for _, c := range cids {
		p := c.Bytes()
		if len(p) > block.MaxCID {
			t.Errorf("%s has %d bytes, more than MaxCID", c, len(p))
		}
		for _, tail := range []string{"", "more", strings.Repeat("x", 1000)} {
			got, n, err := block.ReadCID(append(bytes.Clone(p), tail...))
			if err != nil || got != c || n != len(p) {
				t.Errorf("ReadCID: got %s, %d, %v, want %s, %d", got, n, err, c, len(p))
			}
		}
		for n := range p {
			if got, _, err := block.ReadCID(p[:n]); !errors.Is(err, block.ErrMalformed) {
				t.Errorf("ReadCID of %d bytes of %s: got %s, %v, want ErrMalformed", n, c, got, err)
			}
		}
	}
}

func TestDigest(t *testing.T) {
	for _, tt := range []struct {
		mh, want string
		ok       bool
	}{
		{"\x12\x03abc", "abc", true},
		{"\x00\x00", "", true},
		{"\xa0\xe4\x02\x01a", "a", true},
		{"\x12\x03ab", "", false},
		{"\x12\x03abcd", "", false},
		{"\x12", "", false},
		{"", "", false},
		{"\x92\x00\x01a", "", false}, // not minimal
	} {
		got, err := block.Digest([]byte(tt.mh))
		if string(got) != tt.want || (err == nil) != tt.ok || err != nil && !errors.Is(err, block.ErrMalformed) {
			t.Errorf("Digest %x: got %q, %v, want %q, %v", tt.mh, got, err, tt.want, tt.ok)
		}
	}
}

func TestEqual(t *testing.T) {
	v0 := mustParse(t, "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n")
	v1 := mustParse(t, "bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
	raw := cid.NewCidV1(block.Raw, v0.Hash())
	for _, tt := range []struct {
		a, b cid.Cid
		want bool
	}{
		{v0, v0, true}, {v1, v1, true}, {v0, v1, true}, {v1, v0, true},
		{v0, raw, false}, {v1, raw, false},
		{cid.Undef, v0, false}, {v0, cid.Undef, false}, {cid.Undef, cid.Undef, true},
	} {
		if got := block.Equal(tt.a, tt.b); got != tt.want {
			t.Errorf("Equal %s, %s: got %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
	if got := block.V1(v0); got != v1 {
		t.Errorf("V1 %s: got %s, want %s", v0, got, v1)
	}
	if got := block.V1(raw); got != raw {
		t.Errorf("V1 %s: got %s, want itself", raw, got)
	}
}

// checkSentinel fails unless err wraps one of the documented errors of CheckCID.
func checkSentinel(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, block.ErrMalformed) && !errors.Is(err, block.ErrHashRefused) && !errors.Is(err, block.ErrTooLarge) {
		t.Errorf("got %v, want ErrMalformed, ErrHashRefused or ErrTooLarge", err)
	}
}

// checkAccepted checks the properties of accepted CIDs.
func checkAccepted(t *testing.T, c cid.Cid) {
	t.Helper()
	if c.ByteLen() > block.MaxCID {
		t.Errorf("%s has %d bytes, more than MaxCID", c, c.ByteLen())
	}
	if again, err := block.ParseCID(c.String()); err != nil || again != c {
		t.Errorf("parsed again: got %s, %v, want %s", again, err, c)
	}
	if got, want := block.IsIdentity(c), c.Prefix().MhType == block.Identity; got != want {
		t.Errorf("IsIdentity %s: got %v, want %v", c, got, want)
	}
	if !block.Equal(c, block.V1(c)) {
		t.Errorf("%s isn't equal to its CIDv1", c)
	}
	if _, err := block.Digest(c.Hash()); err != nil {
		t.Errorf("Digest of %s: %v", c, err)
	}
	// An accepted CID can be verified: bytes are either its own or not.
	if _, err := block.Verify(c, []byte("abc")); err != nil && !errors.Is(err, block.ErrHashMismatch) {
		t.Errorf("Verify %s: %v", c, err)
	}
}

func FuzzReadCID(f *testing.F) {
	for _, tt := range digests {
		digest, err := hex.DecodeString(tt.digest)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(newCID(block.DagJSON, tt.code, digest).Bytes())
	}
	f.Add(mustParse(f, "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n").Bytes())
	f.Add([]byte("\x01\x55\x00\x00and more"))
	f.Fuzz(func(t *testing.T, p []byte) {
		c, n, err := block.ReadCID(p)
		if err != nil {
			checkSentinel(t, err)
			return
		}
		if n > len(p) || !bytes.Equal(c.Bytes(), p[:n]) {
			t.Fatalf("got %x, %d bytes, want the first of %x", c.Bytes(), n, p)
		}
		checkAccepted(t, c)
	})
}

func FuzzParseCID(f *testing.F) {
	for _, s := range []string{
		"bafkqaaa", "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",
		"bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
		"f0155d50110", "z", "\x00\x01\x55\x00\x00", "🚀🪐",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := block.ParseCID(s)
		if err != nil {
			checkSentinel(t, err)
			return
		}
		checkAccepted(t, c)
	})
}
