package main

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/hearthnet/hearth/examples/internal/page/pagetest"
)

// TestPageInABrowser: the relay stands among its peers; a click on one says why it is where it is, and there is nothing to break. With
// HEARTH_SHOTS=DIR it leaves screenshots.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	_, peer := neighbour(t)
	h := startNode(t, nodeOptions{http: "127.0.0.1:0", peers: []string{peer.String(), "127.0.0.1:1"}})
	guest := startNode(t, nodeOptions{preset: wallet, peers: []string{h.addr()}})
	b := pagetest.Open(t, fmt.Sprintf("http://%s/", h.web.Addr()), "relay-")
	var explanation string
	var buttons bool
	b.Do(b.Until(`document.querySelectorAll("#graph .node").length === 4 && document.querySelectorAll("#graph path.hot").length === 2`),
		chromedp.Click(fmt.Sprintf(`.node[aria-label*="%v"]`, peer)),
		b.Until(`document.querySelector("#explanation").textContent !== ""`), chromedp.Text(`#explanation`, &explanation),
		chromedp.Evaluate(`document.querySelector("#kill").checkVisibility()`, &buttons), b.Shot("peer"), b.Phone(), b.Shot("phone"))
	require.Contains(t, explanation, peer.String()+" is hot")
	require.False(t, buttons)
	guest.end()
}
