package dag

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/cairn-ipfs/cairn/block"
)

func newBlock(t testing.TB, codec uint64, data []byte) block.Block {
	t.Helper()
	b, err := block.New(codec, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inline makes a block that an identity CID carries.
func inline(t testing.TB, codec uint64, data []byte) block.Block {
	t.Helper()
	b, err := block.NewWithPrefix(cid.Prefix{Version: 1, Codec: codec, MhType: block.Identity, MhLength: -1}, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// leaf returns the CID of the raw block of those bytes.
func leaf(t testing.TB, s string) cid.Cid { return newBlock(t, block.Raw, []byte(s)).CID() }

// Encoders for the tests, also of malformed blocks.

func pbBytes(field byte, p []byte) []byte {
	return append(pbUvarint([]byte{field<<3 | 2}, len(p)), p...)
}

func pbUvarint(dst []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

func pbLink(c cid.Cid, name string) []byte {
	l := pbBytes(1, c.Bytes())
	l = append(l, pbBytes(2, []byte(name))...)
	return pbBytes(2, append(l, 0x18, 0x05))
}

func pbNode(links ...cid.Cid) []byte {
	var p []byte
	for _, c := range links {
		p = append(p, pbLink(c, "")...)
	}
	return append(p, pbBytes(1, []byte("data"))...)
}

func cborLink(c cid.Cid) []byte {
	n := c.ByteLen() + 1
	return append([]byte{0xd8, 42, 0x59, byte(n >> 8), byte(n), 0}, c.Bytes()...)
}

func cborList(links ...cid.Cid) []byte {
	p := []byte{0x9a, byte(len(links) >> 24), byte(len(links) >> 16), byte(len(links) >> 8), byte(len(links))}
	for _, c := range links {
		p = append(p, cborLink(c)...)
	}
	return p
}

func jsonLink(c cid.Cid) string { return fmt.Sprintf(`{"/":%q}`, c) }

func cat(parts ...any) []byte {
	var p []byte
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			p = append(p, part...)
		case []byte:
			p = append(p, part...)
		case byte:
			p = append(p, part)
		}
	}
	return p
}

func TestLinks(t *testing.T) {
	a, b, c := leaf(t, "a"), leaf(t, "b"), leaf(t, "c")
	pb := newBlock(t, block.DagPB, pbNode(a))
	v1 := pb.CID()
	v0 := cid.NewCidV0(v1.Hash())
	sha1 := func(i byte) cid.Cid {
		return cid.NewCidV1(block.GitRaw, append([]byte{0x11, 20}, bytes.Repeat([]byte{i}, 20)...))
	}
	hash := func(i byte) string { return hex.EncodeToString(bytes.Repeat([]byte{i}, 20)) }
	git := func(kind, body string) []byte { return fmt.Appendf(nil, "%s %d\x00%s", kind, len(body), body) }
	md5 := cid.NewCidV1(block.Raw, append([]byte{0xd5, 0x01, 16}, make([]byte, 16)...))
	empty := inline(t, block.Raw, nil).CID()
	carries := inline(t, block.DagCBOR, cborList(b, c)).CID()
	carriesTwice := inline(t, block.DagCBOR, cborList(inline(t, block.DagPB, pbBytes(2, pbBytes(1, b.Bytes()))).CID())).CID()
	carriesNonsense := inline(t, block.DagCBOR, cat(cborList(b), "more")).CID()
	peer := inline(t, 0x72, []byte("a peer's public key")).CID()

	for _, tt := range []struct {
		name  string
		codec uint64
		data  []byte
		want  []cid.Cid
	}{
		{"raw", block.Raw, pbNode(a), nil},
		{"cbor, even with a tag 42", block.CBOR, cborLink(a), nil},
		{"cbor that is none", block.CBOR, []byte("\xff\xff"), nil},
		{"json, even with a link's map", block.JSON, []byte(jsonLink(a)), nil},

		{"pb, empty", block.DagPB, nil, nil},
		{"pb, data alone", block.DagPB, pbBytes(1, []byte("data")), nil},
		{"pb", block.DagPB, pbNode(b, a, c), []cid.Cid{b, a, c}},
		{"pb, data first", block.DagPB, cat(pbBytes(1, nil), pbLink(b, "x"), pbLink(a, "y")), []cid.Cid{b, a}},
		{"pb, names unsorted and doubled", block.DagPB, cat(pbLink(b, "z"), pbLink(a, "a"), pbLink(c, "z")), []cid.Cid{b, a, c}},
		{"pb, a link twice", block.DagPB, pbNode(a, b, a, b), []cid.Cid{a, b}},
		{"pb, twenty links ten times", block.DagPB, pbNode(slices.Repeat(leaves(t, 20), 10)...), leaves(t, 20)},
		{"pb, a link in both versions", block.DagPB, pbNode(a, v0, v1), []cid.Cid{a, v0}},
		{"pb, a link in both versions, among many", block.DagPB, pbNode(append(leaves(t, 20), v1, v0)...), append(leaves(t, 20), v1)},
		{"pb, hash alone", block.DagPB, pbBytes(2, pbBytes(1, a.Bytes())), []cid.Cid{a}},
		{"pb, bytes after the CID", block.DagPB, pbBytes(2, pbBytes(1, cat(a.Bytes(), "junk"))), []cid.Cid{a}},
		{"pb, long varints", block.DagPB, cat("\x92\x80\x00\xa9\x00\x8a\x00\xa4\x80\x00", a.Bytes()), []cid.Cid{a}},
		{"pb, name not UTF-8", block.DagPB, pbLink(a, "\xff"), []cid.Cid{a}},
		{"pb, a refused hash", block.DagPB, pbNode(md5, a), []cid.Cid{md5, a}},
		{"pb, looks through", block.DagPB, pbNode(a, carries, empty), []cid.Cid{a, b, c}},

		{"dag-cbor, a link", block.DagCBOR, cborLink(a), []cid.Cid{a}},
		{"dag-cbor, in lists and maps", block.DagCBOR, cat("\xa2\x61a", cborList(b, a), "\x61b\xa1\x61c", cborLink(c)), []cid.Cid{b, a, c}},
		{"dag-cbor, scalars", block.DagCBOR, []byte("\x8b\x00\x20\x41x\x61x\xf4\xf5\xf6\xf7\xf9\x7e\x00\xfa\x00\x00\x00\x00\xfb\x00\x00\x00\x00\x00\x00\x00\x00"), nil},
		{"dag-cbor, long integers and unsorted keys", block.DagCBOR, cat("\xb9\x00\x02\x78\x01b\x18\x01\x61a", "\xd9\x00\x2a\x59\x00\x25\x00", a.Bytes()), []cid.Cid{a}},
		{"dag-cbor, tags on what isn't bytes", block.DagCBOR, []byte("\x83\xd8\x2a\x61x\xc1\x00\xc1\x80"), nil},
		{"dag-cbor, bytes that look like a CID", block.DagCBOR, cat("\x58\x24", a.Bytes()), nil},
		{"dag-cbor, looks through", block.DagCBOR, cborList(c, carries, a), []cid.Cid{c, b, a}},
		{"dag-cbor, looks through what is looked through", block.DagCBOR, cborList(carriesTwice, a), []cid.Cid{b, a}},
		{"dag-cbor, inline nonsense", block.DagCBOR, cborList(carriesNonsense, a), []cid.Cid{a}},
		{"dag-cbor, inline unknown codec", block.DagCBOR, cborList(peer, a), []cid.Cid{a}},
		{"dag-cbor, nested deep", block.DagCBOR, cat(strings.Repeat("\x81", maxDepth), cborLink(a)), []cid.Cid{a}},

		{"dag-jose, signed CID", block.DagJOSE, cat("\xa2\x67payload\x58\x24", a.Bytes(), "\x6asignatures\x81\xa1\x69signature\x41x"), []cid.Cid{a}},
		{"dag-jose, signed inline", block.DagJOSE, cat("\xa1\x67payload\x59\x00", byte(carries.ByteLen()), carries.Bytes()), []cid.Cid{b, c}},
		{"dag-jose, signed JSON", block.DagJOSE, []byte("\xa1\x67payload\x42{}"), nil},
		{"dag-jose, encrypted, link in a header", block.DagJOSE, cat("\xa2\x6aciphertext\x58\x24", a.Bytes(), "\x6bunprotected\xa1\x61x", cborLink(b)), []cid.Cid{b}},
		{"dag-jose, payload further down", block.DagJOSE, cat("\xa1\x61x\xa1\x67payload\x58\x24", a.Bytes()), nil},

		{"dag-json, a link", block.DagJSON, []byte(jsonLink(a)), []cid.Cid{a}},
		{"dag-json, in lists and maps", block.DagJSON, cat(`{"a":[`, jsonLink(b), `,1,`, jsonLink(v0), `],"b":{"c":`, jsonLink(a), `}}`), []cid.Cid{b, v0, a}},
		{"dag-json, white space and escapes", block.DagJSON, cat(" { \"\\u002f\" :\t\"\\u0062", a.String()[1:], "\"\r\n } "), []cid.Cid{a}},
		{"dag-json, scalars", block.DagJSON, []byte(`[0,-1,1.5,-0.1e+10,1E5,"\"\\",true,false,null,{},[],""]`), nil},
		{"dag-json, bytes", block.DagJSON, []byte(`{"/":{"bytes":"YQ"}}`), nil},
		{"dag-json, link and more", block.DagJSON, []byte(`{"/":"x","a":1}`), nil},
		{"dag-json, more and link", block.DagJSON, []byte(`{"0":1,"/":"x"}`), nil},
		{"dag-json, slash is no string", block.DagJSON, cat(`{"/":`, jsonLink(a), `}`), []cid.Cid{a}},
		{"dag-json, looks through", block.DagJSON, cat("[", jsonLink(carries), "]"), []cid.Cid{b, c}},

		{"git commit", block.GitRaw, git("commit", "tree "+hash(1)+"\nparent "+hash(2)+"\nparent "+hash(3)+
			"\nauthor A <a@b> 1 +0000\nmergetag object "+hash(4)+"\n type commit\n tag v1\n \n tree "+hash(5)+"\n\ntree "+hash(6)+"\n"), []cid.Cid{sha1(1), sha1(2), sha1(3), sha1(4)}},
		{"git first commit", block.GitRaw, git("commit", "tree "+hash(1)+"\nauthor A"), []cid.Cid{sha1(1)}},
		{"git tree", block.GitRaw, git("tree", "100644 a b\x00"+strings.Repeat("\x01", 20)+"160000 sub\x00"+strings.Repeat("\x00", 20)), []cid.Cid{sha1(1), sha1(0)}},
		{"git empty tree", block.GitRaw, git("tree", ""), nil},
		{"git tag", block.GitRaw, git("tag", "object "+hash(1)+"\ntype commit\ntag v1\n\nobject "+hash(2)), []cid.Cid{sha1(1)}},
		{"git blob", block.GitRaw, git("blob", "tree "+hash(1)), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Links(newBlock(t, tt.codec, tt.data))
			if err != nil {
				t.Fatalf("Links: %v", err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if !Known(tt.codec) {
				t.Errorf("Known(0x%x): got false, want true", tt.codec)
			}
			if Leaf(tt.codec) && len(got) > 0 {
				t.Errorf("Leaf(0x%x): got true, with links", tt.codec)
			}
		})
	}
}

func leaves(t testing.TB, n int) []cid.Cid {
	var cs []cid.Cid
	for i := range n {
		cs = append(cs, leaf(t, fmt.Sprint("leaf ", i)))
	}
	return cs
}

func TestLinksRefused(t *testing.T) {
	a := leaf(t, "a")
	long := cid.NewCidV1(block.Raw, cat("\x12\x81\x01", make([]byte, 129)))
	if long.ByteLen() > block.MaxCID {
		t.Fatalf("the longest CID that isn't too long has %d bytes", long.ByteLen())
	}
	tooLong := cid.NewCidV1(block.Raw, cat("\x12\x96\x01", make([]byte, 150)))
	bigIdentity := cid.NewCidV1(block.Raw, cat("\x00\x81\x01", make([]byte, 129)))
	for _, tt := range []struct {
		name  string
		codec uint64
		data  []byte
		want  error
	}{
		{"unknown codec", 0x72, nil, block.ErrUnknownCodec},

		{"pb, unknown field", block.DagPB, pbBytes(3, nil), block.ErrMalformed},
		{"pb, wire type", block.DagPB, []byte{1 << 3, 5}, block.ErrMalformed},
		{"pb, cut in a field", block.DagPB, pbNode(a)[:20], block.ErrMalformed},
		{"pb, cut in a length", block.DagPB, []byte{0x12}, block.ErrMalformed},
		{"pb, endless varint", block.DagPB, bytes.Repeat([]byte{0xff}, 30), block.ErrMalformed},
		{"pb, length over 64 bits", block.DagPB, cat("\x12", bytes.Repeat([]byte{0xff}, 9), "\x7f"), block.ErrMalformed},
		{"pb, length of 2^64-1", block.DagPB, cat("\x12", bytes.Repeat([]byte{0xff}, 9), "\x01"), block.ErrMalformed},
		{"pb, data twice", block.DagPB, cat(pbBytes(1, nil), pbBytes(1, nil)), block.ErrMalformed},
		{"pb, links around data", block.DagPB, cat(pbLink(a, ""), pbBytes(1, nil), pbLink(a, "")), block.ErrMalformed},
		{"pb, empty link", block.DagPB, pbBytes(2, nil), block.ErrMalformed},
		{"pb, link without hash", block.DagPB, pbBytes(2, pbBytes(2, []byte("name"))), block.ErrMalformed},
		{"pb, name before hash", block.DagPB, pbBytes(2, cat(pbBytes(2, []byte("name")), pbBytes(1, a.Bytes()))), block.ErrMalformed},
		{"pb, hash twice", block.DagPB, pbBytes(2, cat(pbBytes(1, a.Bytes()), pbBytes(1, a.Bytes()))), block.ErrMalformed},
		{"pb, Tsize before name", block.DagPB, pbBytes(2, cat(pbBytes(1, a.Bytes()), "\x18\x05", pbBytes(2, nil))), block.ErrMalformed},
		{"pb, Tsize of the wrong wire type", block.DagPB, pbBytes(2, cat(pbBytes(1, a.Bytes()), pbBytes(3, nil))), block.ErrMalformed},
		{"pb, Tsize cut", block.DagPB, pbBytes(2, cat(pbBytes(1, a.Bytes()), "\x18\x85")), block.ErrMalformed},
		{"pb, unknown field in a link", block.DagPB, pbBytes(2, cat(pbBytes(1, a.Bytes()), pbBytes(4, nil))), block.ErrMalformed},
		{"pb, hash is no CID", block.DagPB, pbBytes(2, pbBytes(1, []byte("no CID"))), block.ErrMalformed},
		{"pb, hash empty", block.DagPB, pbBytes(2, pbBytes(1, nil)), block.ErrMalformed},
		{"pb, CID too long", block.DagPB, pbNode(a, tooLong), block.ErrMalformed},
		{"pb, identity CID too long", block.DagPB, pbNode(a, bigIdentity), block.ErrMalformed},

		{"dag-cbor, empty", block.DagCBOR, nil, block.ErrMalformed},
		{"dag-cbor, two items", block.DagCBOR, []byte{0, 0}, block.ErrMalformed},
		{"dag-cbor, cut in a list", block.DagCBOR, cborList(a, a)[:50], block.ErrMalformed},
		{"dag-cbor, 2^64-1 items", block.DagCBOR, cat("\x9b", bytes.Repeat([]byte{0xff}, 8)), block.ErrMalformed},
		{"dag-cbor, 2^64-1 bytes", block.DagCBOR, cat("\x5b", bytes.Repeat([]byte{0xff}, 8)), block.ErrMalformed},
		{"dag-cbor, nested too deep", block.DagCBOR, cat(strings.Repeat("\x81", maxDepth+1), "\x00"), block.ErrMalformed},
		{"dag-cbor, maps nested too deep", block.DagCBOR, cat(strings.Repeat("\xa1\x60", maxDepth+1), "\x00"), block.ErrMalformed},
		{"dag-cbor, keys nested too deep", block.DagCBOR, []byte(strings.Repeat("\xa1", block.MaxSize)), block.ErrMalformed},
		{"dag-cbor, indefinite list", block.DagCBOR, []byte("\x9f\xff"), block.ErrMalformed},
		{"dag-cbor, indefinite bytes", block.DagCBOR, []byte("\x5f\xff"), block.ErrMalformed},
		{"dag-cbor, break", block.DagCBOR, []byte("\xff"), block.ErrMalformed},
		{"dag-cbor, simple value", block.DagCBOR, []byte("\xf8\x20"), block.ErrMalformed},
		{"dag-cbor, another simple value", block.DagCBOR, []byte("\xe0"), block.ErrMalformed},
		{"dag-cbor, number as key", block.DagCBOR, []byte("\xa1\x00\x00"), block.ErrMalformed},
		{"dag-cbor, big number", block.DagCBOR, []byte("\xc2\x41\x01"), block.ErrMalformed},
		{"dag-cbor, tag on tag", block.DagCBOR, []byte("\xc1\xc1\x00"), block.ErrMalformed},
		{"dag-cbor, link without prefix", block.DagCBOR, cat("\xd8\x2a\x58\x24", a.Bytes()), block.ErrMalformed},
		{"dag-cbor, link empty", block.DagCBOR, []byte("\xd8\x2a\x40"), block.ErrMalformed},
		{"dag-cbor, link and more", block.DagCBOR, cat("\xd8\x2a\x58\x26\x00", a.Bytes(), "x"), block.ErrMalformed},
		{"dag-cbor, CID too long", block.DagCBOR, cborLink(tooLong), block.ErrMalformed},
		{"dag-cbor, identity CID too long", block.DagCBOR, cborLink(bigIdentity), block.ErrMalformed},

		{"dag-jose, a list", block.DagJOSE, []byte{0x80}, block.ErrMalformed},
		{"dag-jose, cut", block.DagJOSE, []byte{0xa1}, block.ErrMalformed},

		{"dag-json, empty", block.DagJSON, nil, block.ErrMalformed},
		{"dag-json, two values", block.DagJSON, []byte("1 1"), block.ErrMalformed},
		{"dag-json, trailing comma", block.DagJSON, []byte("[1,]"), block.ErrMalformed},
		{"dag-json, trailing comma in a map", block.DagJSON, []byte(`{"a":1,}`), block.ErrMalformed},
		{"dag-json, no comma", block.DagJSON, []byte("[1 1]"), block.ErrMalformed},
		{"dag-json, no colon", block.DagJSON, []byte(`{"a" 1}`), block.ErrMalformed},
		{"dag-json, no string for a key", block.DagJSON, []byte(`{1:1}`), block.ErrMalformed},
		{"dag-json, no number", block.DagJSON, []byte("-"), block.ErrMalformed},
		{"dag-json, leading zero", block.DagJSON, []byte("01"), block.ErrMalformed},
		{"dag-json, no fraction", block.DagJSON, []byte("1."), block.ErrMalformed},
		{"dag-json, no exponent", block.DagJSON, []byte("1e+"), block.ErrMalformed},
		{"dag-json, no word", block.DagJSON, []byte("nul"), block.ErrMalformed},
		{"dag-json, string without end", block.DagJSON, []byte(`"abc`), block.ErrMalformed},
		{"dag-json, escape without end", block.DagJSON, []byte(`"abc\`), block.ErrMalformed},
		{"dag-json, bad escape", block.DagJSON, []byte(`"\x"`), block.ErrMalformed},
		{"dag-json, control character", block.DagJSON, []byte("\"\n\""), block.ErrMalformed},
		{"dag-json, nested too deep", block.DagJSON, []byte(strings.Repeat("[", block.MaxSize)), block.ErrMalformed},
		{"dag-json, no CID", block.DagJSON, []byte(`{"/":"x"}`), block.ErrMalformed},
		{"dag-json, no base64", block.DagJSON, []byte(`{"/":{"bytes":"!"}}`), block.ErrMalformed},
		{"dag-json, CID too long", block.DagJSON, []byte(jsonLink(tooLong)), block.ErrMalformed},
		{"dag-json, CID of a MiB", block.DagJSON, cat(`{"/":"b`, strings.Repeat("a", 1<<20), `"}`), block.ErrMalformed},

		{"git, empty", block.GitRaw, nil, block.ErrMalformed},
		{"git, no size", block.GitRaw, []byte("tree\x00"), block.ErrMalformed},
		{"git, wrong size", block.GitRaw, []byte("blob 4\x00abc"), block.ErrMalformed},
		{"git, negative size", block.GitRaw, []byte("blob -1\x00"), block.ErrMalformed},
		{"git, unknown kind", block.GitRaw, []byte("branch 0\x00"), block.ErrMalformed},
		{"git, tree entry cut", block.GitRaw, []byte("tree 10\x00100644 a\x00x"), block.ErrMalformed},
		{"git, tree entry without end", block.GitRaw, []byte("tree 8\x00100644 a"), block.ErrMalformed},
		{"git, tree entry without mode", block.GitRaw, cat("tree 22\x00a\x00", strings.Repeat("x", 20)), block.ErrMalformed},
		{"git, commit without tree", block.GitRaw, []byte("commit 9\x00author A\n"), block.ErrMalformed},
		{"git, commit with a short name", block.GitRaw, []byte("commit 9\x00tree abcd"), block.ErrMalformed},
		{"git, commit with a bad name", block.GitRaw, cat("commit 45\x00tree ", strings.Repeat("x", 40)), block.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Links(newBlock(t, tt.codec, tt.data))
			if !errors.Is(err, tt.want) || got != nil {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
			if want := tt.want != block.ErrUnknownCodec; Known(tt.codec) != want {
				t.Errorf("Known: got %v, want %v", !want, want)
			}
		})
	}
	if got, err := Links(newBlock(t, block.DagPB, pbNode(long))); err != nil || !slices.Equal(got, []cid.Cid{long}) {
		t.Errorf("a CID of %d bytes: got %v, %v", long.ByteLen(), got, err)
	}
}

// A block of the largest size with as many links as fit.
func TestLinksWide(t *testing.T) {
	digest := make([]byte, 32)
	random := rand.NewChaCha8([32]byte{1})
	for _, tt := range []struct {
		name  string
		codec uint64
		each  func(c cid.Cid) []byte
		wrap  func(n int, links []byte) []byte
		size  int // of the digest
	}{
		{"pb", block.DagPB, func(c cid.Cid) []byte { return pbBytes(2, pbBytes(1, c.Bytes())) }, func(_ int, p []byte) []byte { return p }, 32},
		{"pb, digests of four bytes", block.DagPB, func(c cid.Cid) []byte { return pbBytes(2, pbBytes(1, c.Bytes())) }, func(_ int, p []byte) []byte { return p }, 4},
		{"dag-cbor", block.DagCBOR, cborLink, func(n int, p []byte) []byte {
			return cat("\x9a", byte(n>>24), byte(n>>16), byte(n>>8), byte(n), p)
		}, 32},
		{"dag-json", block.DagJSON, func(c cid.Cid) []byte { return []byte("," + jsonLink(c)) }, func(_ int, p []byte) []byte { return cat("[0", p, "]") }, 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p []byte
			var want []cid.Cid
			for {
				random.Read(digest)
				c := cid.NewCidV1(block.Raw, cat("\x12", byte(tt.size), digest[:tt.size]))
				link := tt.each(c)
				if len(p)+len(link)+10 > block.MaxSize {
					break
				}
				p = append(p, link...)
				want = append(want, c)
			}
			got, err := Links(newBlock(t, tt.codec, tt.wrap(len(want), p)))
			if err != nil {
				t.Fatalf("Links: %v", err)
			}
			// Digests of four bytes, so that some are equal.
			seen := make(map[cid.Cid]bool)
			want = slices.DeleteFunc(want, func(c cid.Cid) bool { twice := seen[c]; seen[c] = true; return twice })
			if !slices.Equal(got, want) {
				t.Errorf("got %d links, want %d", len(got), len(want))
			}
		})
	}
}
