package ipld

import (
	"errors"
	"net/url"
	"strings"

	"github.com/cairn-ipfs/cairn/block"
	"github.com/ipfs/go-cid"
)

// ErrNotPath says that a text has none of the forms of a path. It may be a name
// of another kind.
var ErrNotPath = errors.New("not a path of content")

// A Path names content: a block and a way through it, or a name that leads to
// such a path.
type Path struct {
	// Text is the path as /ipfs/CID/…, /ipld/CID/… or /ipns/NAME/….
	Text string
	// Root is the CID. It is undefined if the path begins with a name.
	Root cid.Cid
	// Rest is what follows the CID or the name, without slashes at the ends.
	Rest string
}

// IsName reports whether the path begins with a name: /ipns/NAME/….
func (p Path) IsName() bool { return p.Text != "" && !p.Root.Defined() }

// ParsePath parses CID, /ipfs/CID, /ipld/CID, ipfs://CID, /ipns/NAME and
// ipns://NAME, each with or without a path after it. It does not look at the
// NAME. Errors: those of block.ParseCID, and ErrNotPath with block.ErrMalformed
// for a text of none of these forms.
func ParsePath(s string) (Path, error) {
	space, rest, found := cutNamespace(s)
	first, rest, more := strings.Cut(rest, "/")
	p := Path{Text: "/" + space + "/" + first, Rest: strings.Trim(rest, "/")}
	if more {
		p.Text += "/" + rest
	}
	if space == "ipns" {
		return p, nil
	}
	root, err := block.ParseCID(first)
	if err != nil {
		// What is a CID, but refused, is nothing else either.
		if !found && errors.Is(err, block.ErrMalformed) {
			err = notPathError{err}
		}
		return Path{}, err
	}
	p.Root = root
	return p, nil
}

// cutNamespace cuts the namespace from the front. A text without one is in ipfs.
func cutNamespace(s string) (space, rest string, found bool) {
	for _, form := range [][2]string{
		{"/ipfs/", "ipfs"}, {"/ipld/", "ipld"}, {"/ipns/", "ipns"}, {"ipfs://", "ipfs"}, {"ipns://", "ipns"},
	} {
		if rest, found := strings.CutPrefix(s, form[0]); found {
			return form[1], rest, true
		}
	}
	return "ipfs", s, false
}

// A notPathError is an ErrNotPath with the words of the error in it.
type notPathError struct{ error }

func (e notPathError) Is(target error) bool { return target == ErrNotPath }
func (e notPathError) Unwrap() error        { return e.error }

// PathOfURL returns the path that the URL of a gateway names:
// https://HOST/ipfs/CID/path or https://CID.ipfs.HOST/path, and the same for
// ipns. It returns any other text as it is.
func PathOfURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return s
	}
	for _, space := range []string{"ipfs", "ipns"} {
		if strings.HasPrefix(u.Path, "/"+space+"/") {
			return u.Path
		}
		if name, _, found := strings.Cut(u.Host, "."+space+"."); found {
			return "/" + space + "/" + name + u.Path
		}
	}
	return s
}
