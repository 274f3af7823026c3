package kubo

import (
	"strings"
	"testing"
)

func TestCIDs(t *testing.T) {
	d := newDaemon(t, nil)
	const v0 = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"
	const v1 = "bafybeicg2rebjoofv4kbyovkw7af3rpiitvnl6i7ckcywaq6xjcxnc2mby"
	equalJSON(t, "cid/base32", d.ask(t, "cid/base32", "arg", v0).body, `{"CidStr":"`+v0+`","Formatted":"`+v1+`","ErrorMsg":""}`)
	if got := d.ask(t, "cid/base32", "arg", "x").body; !strings.Contains(got, `"CidStr":"x","Formatted":"","ErrorMsg":"`) || strings.Contains(got, `"ErrorMsg":""`) {
		t.Errorf("cid/base32 of an invalid CID: got %s", got)
	}
	equalJSON(t, "cid/format", d.ask(t, "cid/format", "arg", v1, "v", "0").body, `{"CidStr":"`+v1+`","Formatted":"`+v0+`","ErrorMsg":""}`)
	equalJSON(t, "cid/format with a pattern", d.ask(t, "cid/format", "arg", v0, "f", "%V-%v-%c-%h-%L-%b-%%").body,
		`{"CidStr":"`+v0+`","Formatted":"0-cidv0-dag-pb-sha2-256-32-base58btc-%","ErrorMsg":""}`)
	if got := d.ask(t, "cid/codecs", "supported", "true").body; !strings.Contains(got, `{"Code":113,"Name":"dag-cbor"}`) {
		t.Errorf("cid/codecs: got %s", got)
	}
}
