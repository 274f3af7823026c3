package names

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multibase"
)

// testKeys opens keys in a folder, with cheap encryption.
func testKeys(t testing.TB, c KeysConfig) *Keys {
	t.Helper()
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "keys")
	}
	c.WorkFactor = 4
	k, err := OpenKeys(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newKey makes an Ed25519 key and its name.
func newKey(t testing.TB) (crypto.PrivKey, Name) {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key, nameOf(t, key)
}

func nameOf(t testing.TB, key crypto.PrivKey) Name {
	t.Helper()
	name, err := NameOf(key.GetPublic())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// makeKeysOfAllTypes makes one key of each type, as small as allowed.
func makeKeysOfAllTypes(t testing.TB) map[string]crypto.PrivKey {
	t.Helper()
	keys := make(map[string]crypto.PrivKey)
	for kind, make := range map[string]func() (crypto.PrivKey, crypto.PubKey, error){
		"ed25519":   func() (crypto.PrivKey, crypto.PubKey, error) { return crypto.GenerateEd25519Key(rand.Reader) },
		"secp256k1": func() (crypto.PrivKey, crypto.PubKey, error) { return crypto.GenerateSecp256k1Key(rand.Reader) },
		"ecdsa":     func() (crypto.PrivKey, crypto.PubKey, error) { return crypto.GenerateECDSAKeyPair(rand.Reader) },
		"rsa":       func() (crypto.PrivKey, crypto.PubKey, error) { return crypto.GenerateRSAKeyPair(2048, rand.Reader) },
	} {
		key, _, err := make()
		if err != nil {
			t.Fatal(err)
		}
		keys[kind] = key
	}
	return keys
}

func listKeys(t *testing.T, k *Keys) []KeyInfo {
	t.Helper()
	var all []KeyInfo
	for info, err := range k.List() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info)
	}
	return all
}

func TestKeys(t *testing.T) {
	self, _ := newKey(t)
	t.Run("disk", func(t *testing.T) { checkKeys(t, testKeys(t, KeysConfig{Self: self}), self) })
	t.Run("memory", func(t *testing.T) {
		k, err := OpenKeys(KeysConfig{Self: self, WorkFactor: 4})
		if err != nil {
			t.Fatal(err)
		}
		checkKeys(t, k, self)
	})
}

func checkKeys(t *testing.T, k *Keys, self crypto.PrivKey) {
	selfName := nameOf(t, self)
	site, err := k.Generate("site")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(site.ID.String(), "k51") {
		t.Errorf("ID: got %s, want k51…", site.ID)
	}
	blog, err := k.Generate("blog of mine")
	if err != nil {
		t.Fatal(err)
	}
	all := listKeys(t, k)
	if len(all) != 3 || all[0] != (KeyInfo{Name: "self", ID: selfName}) || all[1] != blog || all[2] != site {
		t.Errorf("List: got %v, want self, %v, %v", all, blog, site)
	}

	// A key is found by its name, and by each form of its id.
	base32, err := site.ID.CID().StringOfBase(multibase.Base32)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{
		"site", site.ID.String(), site.ID.Peer().String(), base32, "/ipns/" + site.ID.String(), "ipns://" + base32,
	} {
		key, err := k.Get(id)
		if err != nil || nameOf(t, key) != site.ID {
			t.Errorf("Get %s: got %v, want the key of %s", id, err, site.ID)
		}
	}
	for _, id := range []string{"self", selfName.String()} {
		if key, err := k.Get(id); err != nil || !key.Equals(self) {
			t.Errorf("Get %s: got %v, want the identity", id, err)
		}
	}
	_, stranger := newKey(t)
	for _, id := range []string{"nobody", "", stranger.String(), strings.Repeat("x", 5000)} {
		if _, err := k.Get(id); !errors.Is(err, ErrKeyNotFound) {
			t.Errorf("Get %.20q: got %v, want ErrKeyNotFound", id, err)
		}
	}

	for name, err := range map[string]error{
		"generate": errorOf(k.Generate("site")), "generate self": errorOf(k.Generate("self")),
		"rename to an existing name": errorOf(k.Rename("site", "blog of mine")), "rename to self": errorOf(k.Rename("site", "self")),
	} {
		if !errors.Is(err, ErrExists) {
			t.Errorf("%s: got %v, want ErrExists", name, err)
		}
	}
	for name, err := range map[string]error{
		"rename self": errorOf(k.Rename("self", "x")), "rename self by id": errorOf(k.Rename(selfName.String(), "x")),
		"remove self": errorOf(k.Remove("self")),
	} {
		if !errors.Is(err, ErrSelfKey) || errors.Is(err, ErrExists) {
			t.Errorf("%s: got %v, want ErrSelfKey", name, err)
		}
	}
	if info, err := k.Rename(site.ID.String(), "page"); err != nil || info.Name != "page" || info.ID != site.ID {
		t.Errorf("Rename: got %v, %v", info, err)
	}
	if _, err := k.Get("site"); !errors.Is(err, ErrKeyNotFound) {
		t.Errorf("Get under the old name: got %v, want ErrKeyNotFound", err)
	}
	if info, err := k.Remove("page"); err != nil || info.ID != site.ID {
		t.Errorf("Remove: got %v, %v", info, err)
	}
	if _, err := k.Remove("page"); !errors.Is(err, ErrKeyNotFound) {
		t.Errorf("Remove twice: got %v, want ErrKeyNotFound", err)
	}
	if all := listKeys(t, k); len(all) != 2 {
		t.Errorf("List: got %v, want self and blog of mine", all)
	}
}

func errorOf[T any](_ T, err error) error { return err }

func TestKeyNames(t *testing.T) {
	k := testKeys(t, KeysConfig{})
	_, id := newKey(t)
	for _, name := range []string{
		"", "a/b", `a\b`, "..", "a.b", "a\x00b", "a\nb", "a\u202eb", " a", "a ", "\xff", strings.Repeat("x", 129),
		id.String(), id.Peer().String(),
	} {
		if _, err := k.Generate(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("Generate %q: got %v, want ErrInvalid", name, err)
		}
	}
	for _, name := range []string{"a", "Ä-ö_1", "SELF", strings.Repeat("x", 128)} {
		if info, err := k.Generate(name); err != nil || info.Name != name {
			t.Errorf("Generate %q: got %v", name, err)
		}
	}
	if all := listKeys(t, k); len(all) != 4 || all[0].Name != "SELF" {
		t.Errorf("List: got %v, want four", all)
	}
}

func TestKeyFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Half a key, from before a crash.
	half := filepath.Join(dir, tempPrefix+"123")
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := testKeys(t, KeysConfig{Dir: dir})
	info, err := k.Generate("test")
	if err != nil {
		t.Fatal(err)
	}
	// Kubo's keystore has the key "test" in a file of this name.
	path := filepath.Join(dir, "key_orsxg5a")
	for p, want := range map[string]os.FileMode{dir: 0o700, path: 0o600} {
		stat, err := os.Stat(p)
		if err != nil || stat.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want mode %o", p, stat, err, want)
		}
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half key: got %v, want it gone", err)
	}
	// An unreadable file doesn't hide the others.
	if err := os.WriteFile(filepath.Join(dir, fileName("bad")), []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	var bad, good int
	for got, err := range k.List() {
		switch {
		case errors.Is(err, ErrInvalid) && strings.Contains(err.Error(), `"bad"`):
			bad++
		case err == nil && got == info:
			good++
		default:
			t.Errorf("List: got %v, %v", got, err)
		}
	}
	if bad != 1 || good != 1 {
		t.Errorf("List: got %d bad, %d good, want one of each", bad, good)
	}
	if _, err := k.Generate("bad"); !errors.Is(err, ErrExists) {
		t.Errorf("Generate over an unreadable file: got %v, want ErrExists", err)
	}
}

func TestExportImport(t *testing.T) {
	for kind, key := range makeKeysOfAllTypes(t) {
		for _, format := range []Format{FormatProtobuf, FormatPEM} {
			data, err := MarshalKey(key, format)
			if kind == "secp256k1" && format == FormatPEM {
				if err == nil || !strings.Contains(err.Error(), "protobuf") {
					t.Errorf("%s as PEM: got %v, want an error that names protobuf", kind, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			k := testKeys(t, KeysConfig{})
			info, err := k.Import(kind, data)
			if err != nil || info.ID != nameOf(t, key) {
				t.Fatalf("Import %s: got %v, %v, want %s", kind, info, err, nameOf(t, key))
			}
			back, err := k.Export(kind, format)
			if err != nil || !bytes.Equal(back, data) {
				t.Errorf("Export %s in format %d: got %q, %v, want what was imported", kind, format, back, err)
			}
			if _, err := k.Import("again", data); !errors.Is(err, ErrExists) {
				t.Errorf("Import %s twice: got %v, want ErrExists", kind, err)
			}
		}
	}
}

// TestKuboFormats imports keys encoded by the libraries of Kubo: libp2p's
// protobuf, crypto/x509's PKCS #8.
func TestKuboFormats(t *testing.T) {
	_, std, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	theirs, _, err := crypto.KeyPairFromStdKey(&std)
	if err != nil {
		t.Fatal(err)
	}
	proto, err := crypto.MarshalPrivateKey(theirs)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(std)
	if err != nil {
		t.Fatal(err)
	}
	// Old keys have the public half twice.
	raw, err := theirs.Raw()
	if err != nil {
		t.Fatal(err)
	}
	old := append([]byte{8, 1, 18, 96}, append(raw, raw[32:]...)...)
	id, err := peer.IDFromPrivateKey(theirs)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"protobuf": proto, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "old protobuf": old,
	} {
		info, err := testKeys(t, KeysConfig{}).Import("k", data)
		if err != nil || info.ID.Peer() != id {
			t.Errorf("%s: got %v, %v, want %s", name, info, err, id)
		}
	}
	ours, err := MarshalKey(theirs, FormatPEM)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(ours)
	if back, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil || !std.Equal(back.(ed25519.PrivateKey)) {
		t.Errorf("our PEM: got %v, %v", back, err)
	}
}

func TestKeysRefuse(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, one, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mixed := append([]byte{8, 1, 18, 64}, append(one.Seed(), other...)...)
	asPEM := func(kind string, key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	k := testKeys(t, KeysConfig{})
	for name, data := range map[string][]byte{
		"nothing": nil, "noise": []byte("noise"), "too long": make([]byte, maxKeyData+1),
		"RSA of 1024 bits": asPEM("PRIVATE KEY", weak), "P-224": asPEM("PRIVATE KEY", curve),
		"halves of two keys": mixed, "encrypted PEM": asPEM("ENCRYPTED PRIVATE KEY", one),
		"two PEMs": append(asPEM("PRIVATE KEY", one), asPEM("PRIVATE KEY", one)...),
		"cut PEM":  asPEM("PRIVATE KEY", one)[:60],
	} {
		if _, err := k.Import("k", data); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if all := listKeys(t, k); len(all) != 0 {
		t.Errorf("List: got %v, want none", all)
	}
}

func TestPassphrase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	clear := testKeys(t, KeysConfig{Dir: dir})
	if _, err := clear.Generate("clear"); err != nil {
		t.Fatal(err)
	}
	k := testKeys(t, KeysConfig{Dir: dir, Passphrase: "correct horse"})
	info, err := k.Generate("sealed")
	if err != nil || !info.Encrypted {
		t.Fatalf("Generate: got %v, %v, want an encrypted key", info, err)
	}
	key, err := k.Get("sealed")
	if err != nil || nameOf(t, key) != info.ID {
		t.Fatalf("Get: %v", err)
	}
	if _, err := k.Get("clear"); err != nil {
		t.Errorf("Get of a key that isn't encrypted: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, fileName("sealed")))
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := key.Raw(); bytes.Contains(data, raw[:32]) {
		t.Error("the file holds the key unencrypted")
	}
	// After the first line comes an age file.
	_, sealed, _ := bytes.Cut(data, []byte("\n"))
	identity, err := age.NewScryptIdentity("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := age.Decrypt(bytes.NewReader(sealed), identity); err != nil {
		t.Errorf("age: %v", err)
	}

	for name, passphrase := range map[string]string{"none": "", "another": "battery staple"} {
		k := testKeys(t, KeysConfig{Dir: dir, Passphrase: passphrase})
		if _, err := k.Get("sealed"); !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), "sealed") {
			t.Errorf("Get with passphrase %s: got %v, want ErrPassphrase and the key's name", name, err)
		}
		if all := listKeys(t, k); len(all) != 2 || all[1] != info {
			t.Errorf("List with passphrase %s: got %v, want both", name, all)
		}
		if got, err := k.Info(info.ID.String()); err != nil || got != info {
			t.Errorf("Info: got %v, %v", got, err)
		}
		if _, err := k.Export("sealed", FormatPEM); !errors.Is(err, ErrPassphrase) {
			t.Errorf("Export: got %v, want ErrPassphrase", err)
		}
	}

	// The first line names another key.
	_, other := newKey(t)
	forged := append([]byte(sealedPrefix+other.String()+"\n"), sealed...)
	if err := os.WriteFile(filepath.Join(dir, fileName("sealed")), forged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Get("sealed"); !errors.Is(err, ErrInvalid) {
		t.Errorf("Get with another id in the file: got %v, want ErrInvalid", err)
	}
}

func FuzzKeyFile(f *testing.F) {
	key, name := newKey(f)
	for _, passphrase := range []string{"", "x"} {
		data, err := marshalKeyFile(name, key, passphrase, 1)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	data, err := MarshalKey(key, FormatPEM)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parseKeyFile(data)
		if err != nil {
			return
		}
		if _, err := nameOfPeer(file.id.Peer()); err != nil {
			t.Errorf("the file's key has the id %x: %v", file.id.hash, err)
		}
		if file.key == nil {
			return
		}
		signature, err := file.key.Sign([]byte("x"))
		if err != nil {
			return
		}
		if ok, err := file.key.GetPublic().Verify([]byte("x"), signature); !ok || err != nil {
			t.Errorf("verifying the key's signature: %v", err)
		}
	})
}

// TestFolderNameIsNoPattern opens folders whose names are glob patterns.
func TestFolderNameIsNoPattern(t *testing.T) {
	top := t.TempDir()
	others := filepath.Join(top, "a", tempPrefix+"1")
	if err := os.MkdirAll(filepath.Dir(others), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"[a]", "["} {
		left := filepath.Join(top, dir, tempPrefix+"1")
		if err := os.MkdirAll(filepath.Dir(left), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{left, others} {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenKeys(KeysConfig{Dir: filepath.Dir(left)}); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v for the temporary file, want it gone", dir, err)
		}
		if _, err := os.Stat(others); err != nil {
			t.Errorf("%s: got %v for the file of another folder, want it kept", dir, err)
		}
	}
}
