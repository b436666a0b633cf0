"""The command `serve`: the page that stylizes pictures in the browser."""

import threading
import webbrowser

from nst_lightning.serving import PageServer, build_site, read_models


def serve(
    host: str = "127.0.0.1",
    port: int = 8765,
    open: bool = False,
    model: list[str] | None = None,
) -> None:
    """Serve the page that stylizes pictures in the browser, until Ctrl-C.

    Pictures stay in the browser; the server only hands out the page and the networks.

    Args:
        host: name or address to listen at. The default can be reached from this computer alone, 0.0.0.0 from all others
            in its network, too.
        port: port to listen at; 0 for any that is free.
        open: open the page in the browser.
        model: a network to offer: an .onnx file, or the name of a bundled network. May be repeated; the page begins
            with the first. By default all bundled networks.
    """
    with PageServer(build_site(read_models(model or [])), host=host, port=port) as server:
        elsewhere = ", and at this computer's other addresses" if server.is_everywhere else ""
        print(f"{server.url}{elsewhere} (Ctrl-C ends it)", flush=True)
        if open:  # some browsers, such as those for terminals, return only when they are closed
            threading.Thread(target=webbrowser.open, args=[server.url], daemon=True).start()
        server.serve_forever()
