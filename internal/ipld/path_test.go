package ipld

import (
	"errors"
	"strings"
	"testing"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

func TestParsePath(t *testing.T) {
	const c = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
	for _, tt := range []struct {
		in, text, rest string
		err            error
	}{
		{c, "/ipfs/" + c, "", nil},
		{c + "/", "/ipfs/" + c + "/", "", nil},
		{c + "/a/b", "/ipfs/" + c + "/a/b", "a/b", nil},
		{"/ipfs/" + c + "//a/", "/ipfs/" + c + "//a/", "a", nil},
		{"/ipld/" + c + "/a", "/ipld/" + c + "/a", "a", nil},
		{"ipfs://" + c + "/a", "/ipfs/" + c + "/a", "a", nil},
		{"/ipns/example.org/a/", "/ipns/example.org/a/", "a", nil},
		{"ipns://example.org", "/ipns/example.org", "", nil},
		{"/ipns/", "/ipns/", "", nil},
		{"", "", "", ErrNotPath},
		{"/", "", "", ErrNotPath},
		{"/foo/" + c, "", "", ErrNotPath},
		{"example.org", "", "", ErrNotPath},
		{"/ipfs/example.org", "", "", block.ErrMalformed},
		{"ipfs://", "", "", block.ErrMalformed},
		{"/ipfs/bafk4bafacmqbg/x", "", "", block.ErrMalformed},
	} {
		p, err := ParsePath(tt.in)
		if !errors.Is(err, tt.err) || p.Text != tt.text || p.Rest != tt.rest {
			t.Errorf("%q: got %+v, %v, want %q and %q, %v", tt.in, p, err, tt.text, tt.rest, tt.err)
		}
		if name := strings.HasPrefix(tt.text, "/ipns/"); p.IsName() != name || err == nil && p.Root.Defined() == name {
			t.Errorf("%q: got a name: %t, want %t", tt.in, p.IsName(), name)
		}
		if found := strings.HasPrefix(tt.in, "/ip") || strings.HasPrefix(tt.in, "ip"); errors.Is(err, ErrNotPath) == (found || err == nil) {
			t.Errorf("%q: got %v, want ErrNotPath only for a text without a prefix", tt.in, err)
		}
	}
	mh, err := multihash.Encode(make([]byte, 16), multihash.MD5)
	if err != nil {
		t.Fatal(err)
	}
	refused := cid.NewCidV1(block.Raw, mh).String()
	if _, err := ParsePath(refused); !errors.Is(err, block.ErrHashRefused) || errors.Is(err, ErrNotPath) {
		t.Errorf("%s: got %v, want ErrHashRefused alone", refused, err)
	}
}

func TestPathOfURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://gateway.example/ipfs/X/a%20b?download=true#x": "/ipfs/X/a b",
		"https://X.ipfs.gateway.example/a/b":                   "/ipfs/X/a/b",
		"http://X.ipfs.localhost:8080":                         "/ipfs/X",
		"https://gateway.example/ipns/example.org/a%20b?x":     "/ipns/example.org/a b",
		"http://k51x.ipns.localhost:8080/a":                    "/ipns/k51x/a",
		"https://example.org/about":                            "https://example.org/about",
		"ipfs://X/a":                                           "ipfs://X/a",
		"photos/2025":                                          "photos/2025",
		"http://%zz":                                           "http://%zz",
	} {
		if got := PathOfURL(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

// FuzzPath parses a path twice.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"bafkqabtimvwgy3yk/a/b", "/ipfs/bafkqabtimvwgy3yk", "ipfs://x", "/ipns/x", "", "/", "/ipld/bafkqabtimvwgy3yk/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(PathOfURL(s))
		if err != nil {
			return
		}
		if again, err := ParsePath(p.Text); err != nil || again != p {
			t.Fatalf("%q: got %+v, and again %+v, %v", s, p, again, err)
		}
	})
}
