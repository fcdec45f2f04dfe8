"""A whole kernel: it says back what it is told, and shows each way in which a kernel can show something.

    python examples/echo_kernel.py CONNECTION_FILE

Try `hello`, `html <b>hello</b>`, `ask your name?` or `fail`.
"""

import argparse

from kernelbridge.kernel.handler import Handler
from kernelbridge.kernel.kernel import Kernel
from kernelbridge.wire.contents import CompleteReply, CompleteRequest, ExecuteRequest, LanguageInfo
from kernelbridge.wire.errors import WireError

WORDS = ["ask", "fail", "html"]


class Echo(Handler):
    implementation = "echo"
    implementation_version = "1.0"
    language_info = LanguageInfo(name="echo", version="1.0", mimetype="text/plain", file_extension=".txt")
    banner = "A kernel that says back what it is told."

    def execute(self, request: ExecuteRequest, execution_count: int) -> None:
        word, _, rest = request.code.partition(" ")
        if word == "fail":
            raise ValueError(rest or "as you wished")
        if word == "html":
            self.kernel.display({"text/html": rest, "text/plain": rest})
        elif word == "ask":
            self.kernel.write("stdout", f"You said: {self.kernel.input(rest)}\n")
        else:
            self.kernel.write("stdout", request.code + "\n")
        if not request.silent:
            self.kernel.result({"text/plain": request.code}, execution_count)

    def complete(self, request: CompleteRequest) -> CompleteReply:
        begun = request.code[: request.cursor]
        matches = [word for word in WORDS if word.startswith(begun)]
        return CompleteReply(matches=matches, cursor_start=0, cursor_end=request.cursor)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A kernel that says back what it is told.")
    parser.add_argument("connection_file")
    try:
        Kernel(Echo(), parser.parse_args().connection_file).serve()
    except WireError as problem:
        parser.error(str(problem))
