package dag

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"

	"github.com/cairn-ipfs/cairn/block"
)

// sha1Size is the size of the names that git gives its objects, in bytes.
// (Repositories of git's newer sha256 format have no codec yet.)
const sha1Size = 20

// scanGit adds the links of a git object, as git hashes it: "commit 123\0" and
// then 123 bytes (git: Documentation/technical; IPLD: go-ipld-git). The links
// are, of a commit, its tree, its parents and what merged tags point to; of a
// tag, its object; of a tree, all entries, submodules too. A blob has none.
func scanGit(l *linkSet, p []byte) error {
	header, body, ok := bytes.Cut(p, []byte{0})
	kind, size, ok2 := bytes.Cut(header, []byte{' '})
	if !ok || !ok2 {
		return fmt.Errorf("%w: git object without header", block.ErrMalformed)
	}
	if n, err := strconv.ParseUint(string(size), 10, 32); err != nil || n != uint64(len(body)) {
		return fmt.Errorf("%w: git object with the size %q: want %d", block.ErrMalformed, size, len(body))
	}
	switch string(kind) {
	case "blob":
		return nil
	case "tree":
		return scanGitTree(l, body)
	case "commit":
		return scanGitHeaders(l, body, "tree ", "parent ", "mergetag object ")
	case "tag":
		return scanGitHeaders(l, body, "object ")
	}
	return fmt.Errorf("%w: git object %q", block.ErrMalformed, kind)
}

// scanGitTree adds the entries of a tree: "<mode> <name>\0" and a sha1 each.
func scanGitTree(l *linkSet, p []byte) error {
	for len(p) > 0 {
		i := bytes.IndexByte(p, 0)
		if i < 0 || bytes.IndexByte(p[:i], ' ') < 0 || len(p)-i-1 < sha1Size {
			return fmt.Errorf("%w: git tree entry", block.ErrMalformed)
		}
		if err := l.addSHA1(p[i+1 : i+1+sha1Size]); err != nil {
			return err
		}
		p = p[i+1+sha1Size:]
	}
	return nil
}

// scanGitHeaders adds the sha1 behind each header line that begins with one of the
// prefixes. A line with the first prefix is required. An empty line ends the
// headers; the message follows.
func scanGitHeaders(l *linkSet, p []byte, prefixes ...string) error {
	var hasFirst bool
	for len(p) > 0 {
		line, rest, _ := bytes.Cut(p, []byte{'\n'})
		p = rest
		if len(line) == 0 {
			break
		}
		for i, prefix := range prefixes {
			value, ok := bytes.CutPrefix(line, []byte(prefix))
			if !ok {
				continue
			}
			if len(value) != hex.EncodedLen(sha1Size) {
				return fmt.Errorf("%w: git header %q", block.ErrMalformed, line[:min(len(line), 80)])
			}
			var sha1 [sha1Size]byte
			if _, err := hex.Decode(sha1[:], value); err != nil {
				return fmt.Errorf("%w: git header %q: %w", block.ErrMalformed, line, err)
			}
			if err := l.addSHA1(sha1[:]); err != nil {
				return err
			}
			hasFirst = hasFirst || i == 0
		}
	}
	if !hasFirst {
		return fmt.Errorf("%w: git object without %q", block.ErrMalformed, prefixes[0])
	}
	return nil
}

// addSHA1 adds the git object of that name.
func (l *linkSet) addSHA1(sha1 []byte) error {
	mh := append([]byte{byte(multicodec.Sha1), sha1Size}, sha1...)
	return l.add(cid.NewCidV1(block.GitRaw, mh))
}
