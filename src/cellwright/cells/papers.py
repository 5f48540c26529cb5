"""The papers that the catalogue's docstrings cite, by the words that cite them."""

from collections.abc import Mapping
from types import MappingProxyType

PAPERS: Mapping[str, str] = MappingProxyType(
    {
        "Elman 1990": "Finding structure in time. Cognitive Science 14(2)",
        "Hochreiter & Schmidhuber 1997": "Long short-term memory. Neural Computation 9(8)",
        "Gers, Schmidhuber & Cummins 2000": "Learning to forget: continual prediction with LSTM. "
        "Neural Computation 12(10)",
        "Gers & Schmidhuber 2000": "Recurrent nets that time and count. IJCNN 2000",
        "Cho et al. 2014": "Learning phrase representations using RNN encoder-decoder for "
        "statistical machine translation. EMNLP 2014; arXiv:1406.1078",
        "Koutnik, Greff, Gomez & Schmidhuber 2014": "A clockwork RNN. ICML 2014; arXiv:1402.3511",
        "Sak, Senior & Beaufays 2014": "Long short-term memory based recurrent neural network "
        "architectures for large vocabulary speech recognition. arXiv:1402.1128",
        "Greff et al. 2015": "LSTM: a search space odyssey. arXiv:1503.04069",
        "Jozefowicz, Zaremba & Sutskever 2015": "An empirical exploration of recurrent network "
        "architectures. ICML 2015",
        "Kalchbrenner et al. 2015": "Grid long short-term memory. arXiv:1507.01526",
        "Le, Jaitly & Hinton 2015": "A simple way to initialize recurrent networks of rectified "
        "linear units. arXiv:1504.00941",
        "Yao et al. 2015": "Depth-gated LSTM. arXiv:1508.03790",
        "Ba, Kiros & Hinton 2016": "Layer normalization. arXiv:1607.06450",
        "Zhou, Wu, Zhang & Zhou 2016": "Minimal gated unit for recurrent neural networks. "
        "International Journal of Automation and Computing 13(3)",
        "Li, Li, Cook, Zhu & Gao 2018": "Independently recurrent neural network (IndRNN): building "
        "a longer and deeper RNN. CVPR 2018",
        "Ravanelli, Brakel, Omologo & Bengio 2018": "Light gated recurrent units for speech "
        "recognition. IEEE Transactions on Emerging Topics in Computational Intelligence 2(2)",
        "van der Westhuizen & Lasenby 2018": "The unreasonable effectiveness of the forget gate. "
        "arXiv:1804.04849",
        "Kratzert et al. 2019": "Towards learning universal, regional, and local hydrological "
        "behaviors via machine learning applied to large-sample datasets. Hydrology and Earth "
        "System Sciences 23",
        "Beck et al. 2024": "xLSTM: extended long short-term memory. arXiv:2405.04517",
    }
)
